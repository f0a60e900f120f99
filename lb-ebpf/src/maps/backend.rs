use core::{mem::offset_of, ptr};

use lb_common::{
    abi::{self, Backend, BackendState, Forward, Hop, Tunnel},
    tags::Tags,
};

use super::{field, region, word};
use crate::ip::Address;

// A backend's record has the fields of a hop in the order of one.
const HOP: usize = 5 * 8;
const _: () = assert!(offset_of!(Backend, egress) == HOP + offset_of!(Hop, egress));
const _: () = assert!(offset_of!(Backend, mtu) == HOP + offset_of!(Hop, mtu));
const _: () = assert!(offset_of!(Backend, tags) == HOP + offset_of!(Hop, tags));
const _: () = assert!(offset_of!(Backend, destination) == HOP + offset_of!(Hop, destination));
const _: () = assert!(offset_of!(Backend, source) == HOP + offset_of!(Hop, source));
const _: () = assert!(HOP + size_of::<Hop>() == size_of::<Backend>());

/// A backend's record.
#[derive(Clone, Copy)]
pub struct BackendRef {
    record: *const Backend,
    number: u16,
}

impl BackendRef {
    /// No backend: that of number 0, whose record stays free.
    #[inline(always)]
    #[must_use]
    pub fn none() -> Self {
        BackendRef::get(0)
    }

    /// Whether it isn't [`BackendRef::none`].
    #[inline(always)]
    #[must_use]
    pub fn is_some(self) -> bool {
        self.number != 0
    }

    /// The backend of that number.
    #[inline(always)]
    #[must_use]
    pub fn get(number: u16) -> Self {
        BackendRef {
            record: region::backends().at(u32::from(number)),
            number,
        }
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

    /// Whether it keeps the flows that it has.
    #[inline(always)]
    #[must_use]
    pub fn keeps_flows(self) -> bool {
        field!(self.record, state) >= BackendState::Draining as u8
    }

    /// The number of [`BackendRef::forward`].
    #[inline(always)]
    #[must_use]
    pub fn forward_byte(self) -> u8 {
        field!(self.record, forward)
    }

    /// Whether packets reach it as they are ([`Forward::Dsr`]).
    #[inline(always)]
    #[must_use]
    pub fn is_direct(self) -> bool {
        field!(self.record, forward) == Forward::Dsr as u8
    }

    /// In `dsr` and tunnels: whether a frame of `length` bytes, without tags, may go to it, and
    /// nothing more is to be asked. Then it keeps the flows that it has.
    #[inline(always)]
    #[must_use]
    pub fn has_room(self, length: usize) -> bool {
        length <= usize::from(field!(self.record, hint))
    }

    /// How packets reach it.
    #[inline(always)]
    #[must_use]
    pub fn forward(self) -> Option<Forward> {
        Forward::from_byte(self.forward_byte())
    }

    /// IP protocol number.
    #[inline(always)]
    #[must_use]
    pub fn protocol(self) -> u8 {
        field!(self.record, protocol)
    }

    /// What the outer headers of its packets say.
    #[inline(always)]
    #[must_use]
    pub fn tunnel(self) -> TunnelRef {
        TunnelRef(region::tunnels().at(u32::from(self.number)))
    }

    /// The longest IP packet that the way to it takes.
    #[inline(always)]
    #[must_use]
    pub fn mtu(self) -> u16 {
        field!(self.record, mtu)
    }

    /// The place in the device map of the interface that leads to it.
    #[inline(always)]
    #[must_use]
    pub fn egress(self) -> u8 {
        field!(self.record, egress)
    }

    /// In `nat` and `full-nat`: what a one's complement sum changes by when its own address becomes its
    /// VIP's; the complement of it the other way round.
    #[inline(always)]
    #[must_use]
    pub fn difference(self) -> u16 {
        field!(self.record, hint)
    }

    /// The way to it.
    #[inline(always)]
    #[must_use]
    pub fn hop(self) -> HopRef {
        // SAFETY: a place inside the record; nothing is read.
        HopRef(unsafe { self.record.byte_add(HOP) }.cast())
    }

    /// Its own address.
    #[inline(always)]
    #[must_use]
    pub fn address<A: Address>(self) -> A {
        // SAFETY: a place inside the record; nothing is read.
        A::load(unsafe { &raw const (*self.record).address })
    }

    /// Its own port, in network byte order; 0 when packets keep theirs.
    #[inline(always)]
    #[must_use]
    pub fn port(self) -> u16 {
        field!(self.record, port)
    }

    /// The port that it hears a packet for `port` at.
    #[inline(always)]
    #[must_use]
    pub fn heard_at(self, port: u16) -> u16 {
        match self.port() {
            0 => port,
            own => own,
        }
    }

    /// The VIP's port that its packets from `port` come from.
    #[inline(always)]
    #[must_use]
    pub fn spoken_from(self, port: u16) -> u16 {
        if self.port() == 0 {
            port
        } else {
            self.vip_port()
        }
    }

    /// Its service's VIP.
    #[inline(always)]
    #[must_use]
    pub fn vip<A: Address>(self) -> A {
        // SAFETY: as for its own address.
        A::load(unsafe { &raw const (*self.record).vip })
    }

    /// Its service's port, in network byte order; the first one of a range.
    #[inline(always)]
    #[must_use]
    pub fn vip_port(self) -> u16 {
        field!(self.record, vip_port)
    }

    /// Its service's number.
    #[inline(always)]
    #[must_use]
    pub fn service(self) -> u16 {
        field!(self.record, service)
    }

    /// Another backend that is the same server; 0 for none.
    #[inline(always)]
    #[must_use]
    pub fn sharing(self) -> u16 {
        field!(self.record, sharing)
    }
}

/// The way to a next hop. What it says is read where it is needed: most of it, on most ways,
/// only when the packet has been worked on.
#[derive(Clone, Copy)]
pub struct HopRef(*const Hop);

const _: () = assert!(offset_of!(Hop, egress) == 0);
const _: () = assert!(offset_of!(Hop, destination) == 8);
const _: () = assert!(offset_of!(Hop, source) == 14);

impl HopRef {
    /// That of a record.
    #[inline(always)]
    #[must_use]
    pub(super) fn of(hop: *const Hop) -> Self {
        HopRef(hop)
    }

    /// The interface's place in the device map: the lower byte, for in a backend's record there is
    /// something else above it.
    #[inline(always)]
    #[must_use]
    pub fn egress(self) -> u8 {
        // SAFETY: a byte of the record, which is in a map.
        unsafe { ptr::read_volatile(self.0.cast::<u8>()) }
    }

    /// The longest IP packet that the way takes.
    #[inline(always)]
    #[must_use]
    pub fn mtu(self) -> u16 {
        field!(self.0, mtu)
    }

    /// The VLAN tags that frames carry there.
    #[inline(always)]
    #[must_use]
    pub fn tags(self) -> Tags {
        field!(self.0, tags)
    }

    /// Both MAC addresses, in the words that a frame's head is written by: the destination,
    /// with the first two bytes of the source above it, and the other four.
    #[inline(always)]
    #[must_use]
    pub fn macs(self) -> (u64, u32) {
        (word!(self.0, 1), word!(self.0, 2) as u32)
    }
}

/// What the outer headers of a backend's packets say.
#[derive(Clone, Copy)]
pub struct TunnelRef(*const Tunnel);

impl TunnelRef {
    /// The outer IPv4 source of packets that vary by `spread`.
    #[inline(always)]
    #[must_use]
    pub fn source4(self, spread: u32) -> u32 {
        let first = |words: *const abi::Address| <u32 as Address>::load(words);
        // SAFETY: places inside the record; nothing is read.
        let (source, varying) =
            unsafe { (&raw const (*self.0).source, &raw const (*self.0).varying) };
        first(source) | first(varying) & spread
    }

    /// The outer IPv6 source of packets that vary by `spread`; its first half and its second.
    #[inline(always)]
    #[must_use]
    pub fn source6(self, spread: u32) -> (u64, u64) {
        let spread = u64::from(spread) | u64::from(spread) << 32;
        (
            word!(self.0, 0) | word!(self.0, 2) & spread,
            word!(self.0, 1) | word!(self.0, 3) & spread,
        )
    }

    /// GUE: the destination port, in network byte order.
    #[inline(always)]
    #[must_use]
    pub fn port(self) -> u16 {
        field!(self.0, port)
    }
}

const _: () = assert!(offset_of!(Tunnel, varying) == 2 * 8);
