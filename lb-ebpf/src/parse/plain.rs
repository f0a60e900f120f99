//! Plain packets, of which each way reads what it needs.

use lb_common::flow::Signs;

use super::{Flow, Segment, at};
use crate::{
    frame::Frame,
    ip::Ip,
    packet::{Packet, Window},
};

/// Whom a segment is for; address and port as they lie in the packet.
#[derive(Clone, Copy)]
pub struct Target<I: Ip> {
    /// Destination address.
    pub destination: I::Address,
    /// Destination port.
    pub destination_port: u16,
}

/// A segment of which each way reads what it needs.
pub trait Reading<I: Ip> {
    /// Whether it is in a plain packet, and is read there: each time again, for that is one
    /// load, where what is kept meanwhile costs a store and a load. Nothing of it is ever `None`.
    /// Else it has been read before.
    const PLAIN: bool;

    /// IP protocol number.
    fn protocol(&self) -> Option<u8>;
    /// What it says of its flow.
    fn signs(&self) -> Signs;
    /// Length of the IP packet in bytes.
    fn length(&self) -> Option<usize>;
    /// Whom it is for.
    fn target(&self) -> Option<Target<I>>;
    /// The flow of a segment that goes to the VIP.
    fn flow(&self) -> Option<Flow<I>>;
    /// The flow of a segment that comes from a server, as if its client spoke to the server's
    /// own port.
    fn flow_back(&self) -> Option<Flow<I>>;
    /// All of it.
    fn whole(&self) -> Option<Segment<I>>;
}

/// A plain packet: without tags, options and extensions, and whole.
pub struct Plain<'a> {
    packet: &'a Packet,
    signs: Signs,
}

impl<'a> Plain<'a> {
    /// The packet, if it is one.
    #[inline(always)]
    #[must_use]
    pub fn of<I: Ip>(packet: &'a Packet) -> Option<Self> {
        let signs = I::plain(packet)?;
        Some(Plain { packet, signs })
    }
}

impl<I: Ip> Reading<I> for Plain<'_> {
    const PLAIN: bool = true;

    #[inline(always)]
    fn protocol(&self) -> Option<u8> {
        I::carries_plain(self.packet)
    }

    #[inline(always)]
    fn signs(&self) -> Signs {
        self.signs
    }

    #[inline(always)]
    fn length(&self) -> Option<usize> {
        I::length(self.packet, &Frame::PLAIN).map(usize::from)
    }

    #[inline(always)]
    fn target(&self) -> Option<Target<I>> {
        I::target(self.packet)
    }

    #[inline(always)]
    fn flow(&self) -> Option<Flow<I>> {
        I::flow(self.packet)
    }

    #[inline(always)]
    fn flow_back(&self) -> Option<Flow<I>> {
        I::flow_back(self.packet)
    }

    #[inline(always)]
    fn whole(&self) -> Option<Segment<I>> {
        I::whole(self.packet, self.signs)
    }
}

impl<I: Ip> Reading<I> for Segment<I> {
    const PLAIN: bool = false;

    #[inline(always)]
    fn protocol(&self) -> Option<u8> {
        Some(self.protocol)
    }

    #[inline(always)]
    fn signs(&self) -> Signs {
        Segment::signs(self)
    }

    #[inline(always)]
    fn length(&self) -> Option<usize> {
        Some(self.length)
    }

    #[inline(always)]
    fn target(&self) -> Option<Target<I>> {
        Some(Target {
            destination: self.destination,
            destination_port: self.destination_port,
        })
    }

    #[inline(always)]
    fn flow(&self) -> Option<Flow<I>> {
        Some(Segment::flow(self))
    }

    #[inline(always)]
    fn flow_back(&self) -> Option<Flow<I>> {
        Some(Flow {
            client: self.destination,
            client_port: self.destination_port,
            vip_port: self.source_port,
        })
    }

    #[inline(always)]
    fn whole(&self) -> Option<Segment<I>> {
        Some(*self)
    }
}

/// The flow from a client, by the ports that its packet's header, `head`, begins with.
#[inline(always)]
pub(super) fn flow<I: Ip>(client: I::Address, head: Window<{ at::TCP }>) -> Flow<I> {
    let [a, b, c, d] = head.load::<u32, { at::port::SOURCE }>().to_ne_bytes();
    Flow {
        client,
        client_port: u16::from_ne_bytes([a, b]),
        vip_port: u16::from_ne_bytes([c, d]),
    }
}

/// The same from a server to `client`.
#[inline(always)]
pub(super) fn flow_back<I: Ip>(client: I::Address, head: Window<{ at::TCP }>) -> Flow<I> {
    let there = flow::<I>(client, head);
    Flow {
        client,
        client_port: there.vip_port,
        vip_port: there.client_port,
    }
}

/// The segment of a plain packet, with the ports that its header, `head`, begins with.
#[inline(always)]
pub(super) fn whole<I: Ip>(segment: Segment<I>, head: Window<{ at::TCP }>) -> Segment<I> {
    Segment {
        source_port: head.peek::<u16, { at::port::SOURCE }>(),
        destination_port: head.peek::<u16, { at::port::DESTINATION }>(),
        ..segment
    }
}
