//! Every map, and how its records are read.
//!
//! Userspace changes records while packets flow, so they are read by whole words,
//! each once.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, DevMap, HashMap, PerCpuArray},
};
use lb_common::{
    abi::{
        Backend, BackendCounters, BackendState, Bucket, Cursor, Endpoint, Identity, Neighbour,
        Route, WHEEL_CHUNK, Wheel, WheelChunk,
    },
    flow::BUCKET_SLOTS,
    hash::{self, Seed},
    limits,
    verdict::{VERDICT_SLOTS, Verdict},
};

/// Size of the flow table unless userspace sets another.
const FLOW_BUCKETS: u32 = limits::flow_buckets(1_000_000);

#[map]
static FLOWS: Array<Bucket> = Array::with_max_entries(FLOW_BUCKETS, BPF_F_MMAPABLE);
#[map]
static ENDPOINTS: Whole<Endpoint, { limits::ENDPOINT_SLOTS as usize }> =
    Whole::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static PILOTS: Array<[u16; 4]> =
    Array::with_max_entries(limits::ENDPOINT_GROUPS / 4, BPF_F_MMAPABLE);
#[map]
static BACKENDS: Whole<Backend, { limits::MAX_BACKENDS as usize + 1 }> =
    Whole::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static WHEELS: Array<WheelChunk> =
    Array::with_max_entries(limits::WHEEL_ENTRIES / WHEEL_CHUNK, BPF_F_MMAPABLE);
#[map]
static ROUTES: Array<Route> = Array::with_max_entries(limits::MAX_ROUTES, BPF_F_MMAPABLE);
#[map]
static NEIGHBOURS: HashMap<u32, Neighbour> = HashMap::with_max_entries(limits::MAX_NEIGHBOURS, 0);
#[map]
static DEVICES: DevMap = DevMap::with_max_entries(limits::MAX_INTERFACES, 0);
#[map]
static CURSORS: PerCpuArray<Cursor> = PerCpuArray::with_max_entries(limits::MAX_SERVICES, 0);
#[map]
static BACKEND_COUNTERS: PerCpuArray<BackendCounters> =
    PerCpuArray::with_max_entries(limits::MAX_BACKENDS + 1, 0);
#[map]
static VERDICTS: PerCpuArray<[u64; VERDICT_SLOTS as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Not read here: what userspace must find again after a restart.
#[map]
static IDENTITY: Array<Identity> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// A map of one element that holds all the records. A look-up of an element passes its
/// number through the stack, which the next load waits for; the place of a record in
/// the one element is plain arithmetic.
type Whole<T, const N: usize> = Array<[T; N]>;

/// The record at `index`, modulo their number.
#[inline(always)]
fn record<T, const N: usize>(map: &Whole<T, N>, index: u32) -> Option<*const T> {
    const { assert!(N.is_power_of_two()) };
    // SAFETY: the element has N records, and the mask keeps the index below that.
    Some(unsafe { map.get_ptr(0)?.cast::<T>().add(index as usize & (N - 1)) })
}

/// Reads one field of a record that userspace may be changing.
macro_rules! field {
    ($record:expr, $field:ident) => {
        // SAFETY: the pointer came from a map lookup that wasn't null, and records
        // in maps are aligned and live as long as the program.
        unsafe { ptr::read_volatile(&raw const (*$record).$field) }
    };
}

/// The words of a record, for fields that must be read together.
macro_rules! word {
    ($record:expr, $index:literal) => {
        // SAFETY: as for `field`; a record's size is a multiple of 8 and at least
        // this many words (checked where it is declared).
        unsafe { ptr::read_volatile($record.cast::<u64>().add($index)) }
    };
}

/// Counts a packet's outcome.
#[inline(always)]
pub fn count(verdict: Verdict) {
    if let Some(counters) = VERDICTS.get_ptr_mut(0) {
        let index = verdict as usize & (VERDICT_SLOTS as usize - 1);
        // SAFETY: VERDICT_SLOTS counters of this CPU's own, which no one else writes; the
        // mask keeps the index below that.
        unsafe { *counters.cast::<u64>().add(index) += 1 };
    }
}

/// A bucket of the flow table.
#[inline(always)]
#[must_use]
pub fn flow_bucket(index: u32) -> Option<*mut [u64; BUCKET_SLOTS]> {
    FLOWS.get_ptr_mut(index).map(|bucket| bucket.cast())
}

/// A found endpoint.
#[derive(Clone, Copy)]
pub struct EndpointRef(*const Endpoint);

impl EndpointRef {
    /// The endpoint of this address and selector.
    #[inline(always)]
    #[must_use]
    pub fn find(address: u32, selector: u32) -> Option<Self> {
        const GROUP_BITS: u32 = limits::ENDPOINT_GROUPS.ilog2();
        const SLOT_BITS: u32 = limits::ENDPOINT_SLOTS.ilog2();
        let hash = hash::endpoint(address, selector);
        // Most groups have the pilot 0: then there is nothing to wait for.
        let first = EndpointRef(record(&ENDPOINTS, hash::slot(hash, 0, SLOT_BITS))?);
        if first.is(address, selector) {
            return Some(first);
        }
        let group = hash::group(hash, GROUP_BITS);
        let pilots = PILOTS.get_ptr(group / 4)?;
        // SAFETY: four pilots lie there, and group % 4 chooses one of them.
        let pilot = unsafe { ptr::read_volatile(pilots.cast::<u16>().add(group as usize % 4)) };
        if pilot == 0 {
            return None;
        }
        let second = EndpointRef(record(&ENDPOINTS, hash::slot(hash, pilot, SLOT_BITS))?);
        second.is(address, selector).then_some(second)
    }

    #[inline(always)]
    fn is(self, address: u32, selector: u32) -> bool {
        field!(self.0, selector) == selector && word!(self.0, 0) as u32 == address
    }

    /// Service: the index of its scheduler.
    #[inline(always)]
    #[must_use]
    pub fn index(self) -> u8 {
        field!(self.0, index)
    }

    /// Service: its wheel.
    #[inline(always)]
    #[must_use]
    pub fn wheel(self) -> Wheel {
        let word = word!(self.0, 3);
        Wheel {
            chunk: word as u32,
            length: (word >> 32) as u32,
        }
    }

    /// Service: its number. Server: its first backend.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> u32 {
        field!(self.0, number)
    }

    /// Service: its part of its flows' hash. Server: that of its first backend's service.
    #[inline(always)]
    #[must_use]
    pub fn seed(self) -> Seed {
        Seed([word!(self.0, 6), word!(self.0, 7)])
    }

    /// VIP: until when it is ours, in ns of the monotonic clock.
    #[inline(always)]
    #[must_use]
    pub fn deadline(self) -> u64 {
        field!(self.0, deadline)
    }
}

const _: () = assert!(core::mem::offset_of!(Endpoint, wheel) == 3 * 8);
const _: () = assert!(core::mem::offset_of!(Endpoint, seed) == 6 * 8);
const _: () = assert!(core::mem::offset_of!(Backend, ifindex) == 5 * 8);
const _: () = assert!(core::mem::offset_of!(Backend, egress) == 5 * 8 + 4);
const _: () = assert!(core::mem::offset_of!(Backend, destination) == 6 * 8);
const _: () = assert!(core::mem::offset_of!(Backend, source) == 6 * 8 + 6);
const _: () = assert!(core::mem::offset_of!(Backend, state) == 7 * 8 + 4);
const _: () = assert!(core::mem::offset_of!(Backend, forward) == 7 * 8 + 5);

/// A backend's record.
#[derive(Clone, Copy)]
pub struct BackendRef {
    record: *const Backend,
    number: u16,
}

impl BackendRef {
    /// The backend of that number.
    #[inline(always)]
    #[must_use]
    pub fn get(number: u16) -> Option<Self> {
        Some(BackendRef {
            record: record(&BACKENDS, u32::from(number))?,
            number,
        })
    }

    /// Its number.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> u16 {
        self.number
    }

    /// Whether it takes new flows and keeps those it has.
    #[inline(always)]
    #[must_use]
    pub fn state(self) -> BackendState {
        BackendState::from_byte(field!(self.record, state))
    }

    /// [`lb_common::abi::Forward`].
    #[inline(always)]
    #[must_use]
    pub fn forward(self) -> u8 {
        field!(self.record, forward)
    }

    /// The way to it.
    #[inline(always)]
    #[must_use]
    pub fn hop(self) -> HopWords {
        HopWords {
            device: word!(self.record, 5),
            macs: word!(self.record, 6),
            source: word!(self.record, 7) as u32,
        }
    }

    /// Its own address.
    #[inline(always)]
    #[must_use]
    pub fn address(self) -> u32 {
        word!(self.record, 0) as u32
    }

    /// Its own port, in network byte order.
    #[inline(always)]
    #[must_use]
    pub fn port(self) -> u16 {
        field!(self.record, port)
    }

    /// Its service's VIP.
    #[inline(always)]
    #[must_use]
    pub fn vip(self) -> u32 {
        word!(self.record, 2) as u32
    }

    /// Its service's port, in network byte order.
    #[inline(always)]
    #[must_use]
    pub fn vip_port(self) -> u16 {
        field!(self.record, vip_port)
    }

    /// Another backend that is the same server; 0 for none.
    #[inline(always)]
    #[must_use]
    pub fn sharing(self) -> u16 {
        field!(self.record, sharing)
    }

    /// Counts a packet of `length` bytes from a client, the first of a connection
    /// when `opens`.
    #[inline(always)]
    pub fn count_in(self, length: usize, opens: bool) {
        if let Some(counters) = BACKEND_COUNTERS.get_ptr_mut(u32::from(self.number)) {
            // SAFETY: counters of this CPU's own, which no one else writes.
            unsafe {
                (*counters).packets_in += 1;
                (*counters).bytes_in += length as u64;
                if opens {
                    (*counters).connections += 1;
                }
            }
        }
    }

    /// Counts a packet of `length` bytes to a client.
    #[inline(always)]
    pub fn count_out(self, length: usize) {
        if let Some(counters) = BACKEND_COUNTERS.get_ptr_mut(u32::from(self.number)) {
            // SAFETY: counters of this CPU's own, which no one else writes.
            unsafe {
                (*counters).packets_out += 1;
                (*counters).bytes_out += length as u64;
            }
        }
    }
}

/// The way to a next hop, in the words that a frame's head is written by.
#[derive(Clone, Copy)]
pub struct HopWords {
    /// ifindex, and egress above it.
    device: u64,
    /// Destination MAC, and the first two bytes of the source MAC above it.
    pub macs: u64,
    /// The other four bytes of the source MAC.
    pub source: u32,
}

impl HopWords {
    /// The interface.
    #[inline(always)]
    #[must_use]
    pub fn ifindex(self) -> u32 {
        self.device as u32
    }

    /// Its place in the device map.
    #[inline(always)]
    #[must_use]
    pub fn egress(self) -> u32 {
        (self.device >> 32) as u32
    }
}

/// The next hop on the way back to a client.
#[inline(always)]
#[must_use]
pub fn route(client: u32) -> Option<HopWords> {
    for index in 0..limits::MAX_ROUTES {
        let route = ROUTES.get_ptr(index)?;
        let kind = field!(route, kind);
        if kind == Route::END {
            return None;
        }
        if client & field!(route, mask) != field!(route, prefix) {
            continue;
        }
        if kind == Route::VIA {
            return Some(HopWords {
                device: word!(route, 2),
                macs: word!(route, 3),
                source: word!(route, 4) as u32,
            });
        }
        if kind == Route::KERNEL {
            return None;
        }
        let neighbour = NEIGHBOURS.get_ptr(client)?;
        return Some(HopWords {
            device: word!(neighbour, 0),
            macs: word!(neighbour, 1),
            source: word!(neighbour, 2) as u32,
        });
    }
    None
}

const _: () = assert!(core::mem::offset_of!(Route, hop) == 2 * 8);

/// The entry of a wheel at `place`; 0 when nothing is there.
#[inline(always)]
#[must_use]
pub fn wheel_entry(wheel: Wheel, place: u32) -> u16 {
    let Some(chunk) = WHEELS.get_ptr(wheel.chunk + place / WHEEL_CHUNK) else {
        return 0;
    };
    let inside = (place % WHEEL_CHUNK) as usize;
    // SAFETY: a chunk has WHEEL_CHUNK entries of 2 bytes.
    unsafe { ptr::read_volatile(chunk.cast::<u16>().add(inside)) }
}

/// The next place in a service's wheel, by this CPU's count.
#[inline(always)]
#[must_use]
pub fn advance(service: u32, length: u32) -> u32 {
    let Some(cursor) = CURSORS.get_ptr_mut(service) else {
        return 0;
    };
    // SAFETY: a cursor of this CPU's own; userspace writes it before the service
    // is there.
    unsafe {
        let next = (*cursor).next;
        let place = if next < u64::from(length) { next } else { 0 };
        (*cursor).next = place + 1;
        place as u32
    }
}

/// Sends the frame out of another interface.
///
/// # Errors
///
/// `XDP_ABORTED` when no interface has that place. Both are the action to return.
#[inline(always)]
pub fn redirect(egress: u32) -> Result<u32, u32> {
    DEVICES.redirect(egress, 0)
}
