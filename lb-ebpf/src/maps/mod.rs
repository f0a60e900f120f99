//! Every map, and how its records are read.
//!
//! Userspace changes records while packets flow, so they are read by whole words,
//! each once.

mod backend;
mod count;
mod endpoint;
mod ports;
mod region;
mod route;
mod told;
mod watch;

use core::ptr;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, DevMap, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use lb_common::{
    abi::{
        Address, Fragment, FragmentKey, Identity, Load, Neighbour, WHEEL_CHUNK, WatchCount, Wheel,
    },
    limits,
    wheel::Slot,
};

#[cfg(doc)]
use crate::node;

pub use backend::{BackendRef, HopRef, TunnelRef};
pub use count::{advance, count};
pub use endpoint::{EndpointRef, Sought, is_known};
pub use ports::{PortSlot, pool_address, port_bucket};
pub use route::{Destination, route};
pub use told::may_tell;
pub use watch::{is_watched, tell, watched};

#[map]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment> =
    LruHashMap::with_max_entries(limits::MAX_FRAGMENTED, 0);
#[map]
static NEIGHBOURS: HashMap<u32, Neighbour> = HashMap::with_max_entries(limits::MAX_NEIGHBOURS, 0);
#[map]
static NEIGHBOURS6: HashMap<Address, Neighbour> =
    HashMap::with_max_entries(limits::MAX_NEIGHBOURS, 0);
#[map]
static DEVICES: DevMap = DevMap::with_max_entries(limits::MAX_INTERFACES, 0);
#[map]
static TOO_BIG: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);
#[map]
static OPENED: RingBuf = RingBuf::with_byte_size(limits::WATCH_RING, 0);
#[map]
static WATCH_COUNTS: PerCpuArray<WatchCount> = PerCpuArray::with_max_entries(1, 0);

/// Not read here: what userspace must find again after a restart.
#[map]
static IDENTITY: Array<Identity> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Reads one field of a record that userspace may be changing.
macro_rules! field {
    ($record:expr, $field:ident) => {
        // SAFETY: the pointer is that of a record in a map, which is aligned and lives as
        // long as the program.
        unsafe { ::core::ptr::read_volatile(&raw const (*$record).$field) }
    };
}

/// The words of a record, for fields that must be read together.
macro_rules! word {
    ($record:expr, $index:literal) => {
        // SAFETY: as for `field`; a record's size is a multiple of 8 and at least
        // this many words (checked where it is declared).
        unsafe { ::core::ptr::read_volatile($record.cast::<u64>().add($index)) }
    };
}
use field;
use word;

/// A slot of the flow table, by its bucket's number × 8 + its own, which [`node::home_shift`]
/// bounds.
#[inline(always)]
#[must_use]
pub fn flow_slot(number: u64) -> *mut u64 {
    region::flows().slot(number)
}

/// A wheel's place.
#[inline(always)]
#[must_use]
pub fn wheel_slot(wheel: Wheel, place: u32) -> Slot {
    let chunk = region::wheels().at(wheel.chunk + place / WHEEL_CHUNK);
    let inside = (place % WHEEL_CHUNK) as usize;
    // SAFETY: a chunk has WHEEL_CHUNK places of 4 bytes.
    Slot::from_bits(unsafe { ptr::read_volatile(chunk.cast::<u32>().add(inside)) })
}

/// That of two places whose backend has less to do, and now one flow more.
#[inline(always)]
#[must_use]
pub fn less_loaded(one: Slot, other: Slot) -> Slot {
    let at = |slot: Slot| region::loads().at(u32::from(slot.backend()));
    let (first, second) = (at(one), at(other));
    let (mine, theirs) = (
        Load::from_bits(word!(first, 0)),
        Load::from_bits(word!(second, 0)),
    );
    let (chosen, at, load) = if theirs.is_below(mine) {
        (other, second, theirs)
    } else {
        (one, first, mine)
    };
    let more = Load {
        flows: load.flows.wrapping_add(1),
        ..load
    };
    // SAFETY: a record in the map, one aligned word. What another CPU adds at the same time
    // may be lost until userspace counts again.
    unsafe { ptr::write_volatile(at.cast::<u64>(), more.bits()) };
    chosen
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

/// Remembers where the fragments of a packet go.
#[inline(always)]
pub fn remember(key: &FragmentKey, fragment: &Fragment) {
    // Where there is no room, later fragments are dropped, and counted so.
    let _ = FRAGMENTS.insert(key, fragment, 0);
}

/// Where the fragments of a packet go, if its first one is known.
#[inline(always)]
#[must_use]
pub fn fragment(key: &FragmentKey) -> Option<Fragment> {
    let at = FRAGMENTS.get_ptr(key)?;
    // Another CPU may be writing it, when a host sends two packets with one identification at
    // once: then their fragments are mixed up anyway.
    // SAFETY: a value of the map, and any bit pattern is one.
    Some(unsafe { ptr::read_volatile(at) })
}
