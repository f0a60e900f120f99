use core::ptr;

use lb_common::{
    abi::{Endpoint, Keeping, Kind, Range, Wheel, carried, protocol_of, selector_of},
    hash::{self, Seed},
    limits,
};

use super::{BackendRef, field, region, word};
use crate::{
    ip::{Address, Ip},
    packet::opaque,
};

/// Whether an endpoint may have this address: false only where none has.
#[inline(always)]
#[must_use]
pub fn is_known<A: Address>(address: A) -> bool {
    let bit = hash::known(address.words(), limits::KNOWN_BITS.ilog2());
    // SAFETY: a word of the map, which userspace writes only whole.
    let word = unsafe { ptr::read_volatile(region::known().at(bit / 64)) };
    word >> (bit % 64) & 1 != 0
}

const GROUP_BITS: u32 = limits::ENDPOINT_GROUPS.ilog2();
const SLOT_BITS: u32 = limits::ENDPOINT_SLOTS.ilog2();

/// The key of an endpoint that is looked for, in one of two places.
#[derive(Clone, Copy)]
pub struct Sought<I: Ip> {
    address: I::Address,
    selector: u32,
    hash: u64,
}

impl<I: Ip> Sought<I> {
    /// The port as it lies in the packet; the protocol as [`carried`] gives it.
    #[inline(always)]
    #[must_use]
    pub fn new(address: I::Address, port: u16, carried: u32, kind: Kind) -> Self {
        let selector = selector_of(I::FAMILY, port, carried, kind);
        Sought {
            address,
            selector,
            hash: hash::endpoint(address.words(), selector),
        }
    }

    /// The endpoint, if it lies where those of most groups do: where their pilot is 0.
    #[inline(always)]
    #[must_use]
    pub fn first(&self) -> Option<EndpointRef> {
        let first = EndpointRef::at(hash::slot(self.hash, 0, SLOT_BITS));
        first.is::<I>(self.address, self.selector).then_some(first)
    }

    /// The endpoint, if it lies where its group's pilot says.
    #[inline(always)]
    #[must_use]
    pub fn second(&self) -> Option<EndpointRef> {
        let group = hash::group(self.hash, GROUP_BITS);
        // SAFETY: a word of the map, which userspace writes only whole.
        let pilot = unsafe { ptr::read_volatile(region::pilots().at(group)) };
        if pilot == 0 {
            return None;
        }
        let second = EndpointRef::at(hash::slot(self.hash, pilot, SLOT_BITS));
        second
            .is::<I>(self.address, self.selector)
            .then_some(second)
    }
}

/// A found endpoint.
#[derive(Clone, Copy)]
pub struct EndpointRef(*const Endpoint);

impl EndpointRef {
    /// The endpoint of this key; the port as it lies in the packet.
    #[inline(always)]
    #[must_use]
    pub fn find<I: Ip>(address: I::Address, port: u16, protocol: u8, kind: Kind) -> Option<Self> {
        let sought = Sought::<I>::new(address, port, carried(protocol), kind);
        sought.first().or_else(|| sought.second())
    }

    /// That in the slot of this number.
    #[inline(always)]
    #[must_use]
    pub fn at(slot: u32) -> Self {
        EndpointRef(region::endpoints().at(slot))
    }

    /// The number of its slot: worked out where it is asked for, not kept meanwhile.
    #[inline(always)]
    #[must_use]
    pub fn slot(self) -> u32 {
        let (start, it) = (region::endpoints().at(0) as u64, opaque(self.0 as u64));
        (it.wrapping_sub(start) / size_of::<Endpoint>() as u64) as u32
    }

    #[inline(always)]
    fn is<I: Ip>(self, address: I::Address, selector: u32) -> bool {
        field!(self.0, selector) == selector && self.address::<I::Address>() == address
    }

    /// Its address.
    #[inline(always)]
    #[must_use]
    pub fn address<A: Address>(self) -> A {
        // SAFETY: a place inside the record; nothing is read.
        A::load(unsafe { &raw const (*self.0).address })
    }

    /// Its protocol's number; 0 for a VIP.
    #[inline(always)]
    #[must_use]
    pub fn protocol(self) -> u8 {
        protocol_of(field!(self.0, selector))
    }

    /// Service: the index of its scheduler. VIP: 1 more than its place in the pool.
    #[inline(always)]
    #[must_use]
    pub fn index(self) -> u8 {
        field!(self.0, index)
    }

    /// Service: tells whether its flows are kept there. (Not as a [`Keeping`]: the compiler would
    /// make the byte one of its numbers before it compares.)
    #[inline(always)]
    pub fn keeping(self) -> impl Fn(Keeping) -> bool {
        let byte = field!(self.0, keeping);
        move |keeping| byte == keeping as u8
    }

    /// Service: how many bits of its clients' addresses it knows them by.
    #[inline(always)]
    #[must_use]
    pub fn prefix(self) -> u8 {
        word!(self.0, 5) as u8
    }

    /// Service: its wheel.
    #[inline(always)]
    #[must_use]
    pub fn wheel(self) -> Wheel {
        Wheel::from_bits(word!(self.0, 3))
    }

    /// Service: its number.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> u32 {
        word!(self.0, 4) as u32
    }

    /// Server: the first backend that it is.
    #[inline(always)]
    #[must_use]
    pub fn backend(self) -> BackendRef {
        // SAFETY: the lowest two bytes of the word, on all that BPF programs are compiled for here.
        let number = unsafe { ptr::read_volatile(self.0.cast::<u16>().add(4 * 4)) };
        BackendRef::get(number)
    }

    /// Service: its part of its flows' hash. Server: that of its first backend's service.
    #[inline(always)]
    #[must_use]
    pub fn seed(self) -> Seed {
        Seed([word!(self.0, 6), word!(self.0, 7)])
    }

    /// VIP: until when its group is ours, in ns of the monotonic clock.
    #[inline(always)]
    #[must_use]
    pub fn deadline(self) -> u64 {
        let lease = region::leases().at(word!(self.0, 3) as u32);
        // SAFETY: it lies in the map; userspace writes the word whole.
        unsafe { ptr::read_volatile(&raw const (*lease).deadline) }
    }

    /// VIP: the first port of the range that has this port (host byte order) of TCP or UDP.
    #[inline(always)]
    #[must_use]
    pub fn range(self, port: u16, is_tcp: bool) -> Option<u16> {
        let ranges = if is_tcp {
            field!(self.0, tcp_ranges)
        } else {
            field!(self.0, udp_ranges)
        };
        if ranges == 0 {
            return None;
        }
        let words = [
            word!(self.0, 4),
            word!(self.0, 5),
            word!(self.0, 6),
            word!(self.0, 7),
        ];
        let mut place = 0;
        while place < limits::MAX_VIP_RANGES as usize {
            let range = Range::from_bits((words[place / 2] >> (place % 2 * 32)) as u32);
            if ranges >> place & 1 != 0 && range.first <= port && port <= range.last {
                return Some(range.first);
            }
            place += 1;
        }
        None
    }
}

const _: () = assert!(core::mem::offset_of!(Endpoint, detail) == 3 * 8);
