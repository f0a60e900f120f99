//! Plain packets, of which each way reads what it needs.

use lb_common::{abi, flow::tcp};
use network_types::eth::EthHdr;

use super::{Flow, Segment, TCP, at};
use crate::{
    frame,
    ip::{Address, Ip},
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

/// The head of a plain packet's frame. Whatever is asked for is read, and read again when it is
/// asked for again.
pub trait Head<I: Ip>: Copy {
    /// IP protocol number.
    fn protocol(self) -> u8;
    /// Length of the IP packet in bytes.
    fn length(self) -> u16;
    /// TCP's header, or UDP's and what is behind it.
    fn segment(self) -> Window<{ at::TCP }>;
    /// Source address.
    fn source(self) -> I::Address;
    /// Destination address.
    fn destination(self) -> I::Address;
    /// The source, [folded](Address::folded).
    fn source_folded(self) -> u64;
    /// The destination, [folded](Address::folded).
    fn destination_folded(self) -> u64;
    /// Source and destination, each read only if it is used.
    fn ends(self) -> (I::Address, I::Address);
    /// The same head, see [`Window::again`].
    fn again(self) -> Self;
}

/// A segment of which each way reads what it needs.
pub trait Reading<I: Ip> {
    /// Whether it is in a plain packet, and is read there: each time again, for that is one
    /// load, where what is kept meanwhile costs a store and a load. Else it has been read before.
    const PLAIN: bool;

    /// IP protocol number.
    fn protocol(&self) -> u8;
    /// The same where a selector has it, see [`abi::carried`].
    fn carried(&self) -> u32;
    /// TCP's flags; anything where it is one of UDP.
    fn flags(&self) -> u8;
    /// Whether it is TCP.
    #[inline(always)]
    fn is_tcp(&self) -> bool {
        self.protocol() == TCP
    }
    /// Whether it opens a TCP connection.
    #[inline(always)]
    fn opens(&self) -> bool {
        // The flags first: few packets are to be asked for more.
        tcp::opens(self.flags()) && self.is_tcp()
    }
    /// Length of the IP packet in bytes.
    fn length(&self) -> usize;
    /// Its header in the packet, where it is TCP's. `None` when that isn't there.
    fn tcp(&self, packet: &Packet) -> Option<Window<{ at::TCP }>>;
    /// Its header in the packet, where it is UDP's. `None` when that isn't there.
    fn udp(&self, packet: &Packet) -> Option<Window<{ at::UDP }>>;
    /// Source port, as it lies in the packet.
    fn source_port(&self) -> u16;
    /// Destination port, likewise.
    #[inline(always)]
    fn destination_port(&self) -> u16 {
        self.target().destination_port
    }
    /// Destination address.
    #[inline(always)]
    fn destination(&self) -> I::Address {
        self.target().destination
    }
    /// Whom it is for.
    fn target(&self) -> Target<I>;
    /// The flow of a segment that goes to the VIP.
    fn flow(&self) -> Flow<I>;
    /// The flow of a segment that comes from a server, as if its client spoke to the server's
    /// own port.
    fn flow_back(&self) -> Flow<I>;
    /// The client of [`Reading::flow`], [folded](Address::folded), and [its ports](Flow::ports).
    #[inline(always)]
    fn folded(&self) -> (u64, u32) {
        let flow = self.flow();
        (flow.client.folded(), flow.ports())
    }
    /// The client of [`Reading::flow_back`], [folded](Address::folded), its port and the server's.
    #[inline(always)]
    fn folded_back(&self) -> (u64, u16, u16) {
        let flow = self.flow_back();
        (flow.client.folded(), flow.client_port, flow.vip_port)
    }
    /// All of it.
    fn whole(&self) -> Segment<I>;
}

/// A plain packet: without tags, options and extensions, and whole.
pub struct Plain<I: Ip> {
    head: I::Head,
    carried: u32,
}

impl<I: Ip> Plain<I> {
    /// The packet, if it is one.
    #[inline(always)]
    #[must_use]
    pub fn of(packet: &Packet, least: Window<{ frame::LEAST }>) -> Option<Self> {
        let (head, carried) = I::plain(packet, least)?;
        Some(Plain { head, carried })
    }

    /// A packet that is known to be one.
    #[inline(always)]
    #[must_use]
    pub fn known(packet: &Packet) -> Option<Self> {
        let head = I::head(packet)?;
        let carried = abi::carried(head.protocol());
        Some(Plain { head, carried })
    }

    /// Both ports as they lie in the packet, the source's below.
    #[inline(always)]
    fn ports(&self) -> u32 {
        self.head.segment().load::<u32, { at::port::SOURCE }>()
    }
}

impl<I: Ip> Reading<I> for Plain<I> {
    const PLAIN: bool = true;

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.head.protocol()
    }

    #[inline(always)]
    fn carried(&self) -> u32 {
        self.carried
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        self.head.segment().load::<u8, { at::TCP_FLAGS }>()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.head.length().into()
    }

    #[inline(always)]
    fn tcp(&self, _: &Packet) -> Option<Window<{ at::TCP }>> {
        Some(self.head.segment())
    }

    #[inline(always)]
    fn udp(&self, _: &Packet) -> Option<Window<{ at::UDP }>> {
        Some(self.head.segment().narrow())
    }

    #[inline(always)]
    fn source_port(&self) -> u16 {
        self.head.segment().load::<u16, { at::port::SOURCE }>()
    }

    #[inline(always)]
    fn destination_port(&self) -> u16 {
        self.head.segment().load::<u16, { at::port::DESTINATION }>()
    }

    #[inline(always)]
    fn destination(&self) -> I::Address {
        self.head.destination()
    }

    #[inline(always)]
    fn target(&self) -> Target<I> {
        Target {
            destination: self.destination(),
            destination_port: self.destination_port(),
        }
    }

    #[inline(always)]
    fn flow(&self) -> Flow<I> {
        let client = self.head.source();
        let [a, b, c, d] = self.ports().to_ne_bytes();
        Flow {
            client,
            client_port: u16::from_ne_bytes([a, b]),
            vip_port: u16::from_ne_bytes([c, d]),
        }
    }

    #[inline(always)]
    fn flow_back(&self) -> Flow<I> {
        let client = self.head.destination();
        let [a, b, c, d] = self.ports().to_ne_bytes();
        Flow {
            client,
            client_port: u16::from_ne_bytes([c, d]),
            vip_port: u16::from_ne_bytes([a, b]),
        }
    }

    #[inline(always)]
    fn folded(&self) -> (u64, u32) {
        (self.head.source_folded(), self.ports())
    }

    #[inline(always)]
    fn folded_back(&self) -> (u64, u16, u16) {
        let ports = self.ports();
        let client = self.head.destination_folded();
        (client, (ports >> 16) as u16, ports as u16)
    }

    #[inline(always)]
    fn whole(&self) -> Segment<I> {
        let head = self.head.again();
        let (protocol, segment) = (head.protocol(), head.segment());
        let (source, destination) = head.ends();
        Segment {
            protocol,
            flags: match protocol {
                TCP => segment.load::<u8, { at::TCP_FLAGS }>(),
                _ => 0,
            },
            length: head.length().into(),
            l4: EthHdr::LEN + I::HEADER,
            source,
            destination,
            source_port: segment.peek::<u16, { at::port::SOURCE }>(),
            destination_port: segment.peek::<u16, { at::port::DESTINATION }>(),
            ..Segment::NONE
        }
    }
}

impl<I: Ip> Reading<I> for Segment<I> {
    const PLAIN: bool = false;

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn carried(&self) -> u32 {
        abi::carried(self.protocol)
    }

    #[inline(always)]
    fn flags(&self) -> u8 {
        self.flags
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn tcp(&self, packet: &Packet) -> Option<Window<{ at::TCP }>> {
        packet.at(self.l4)
    }

    #[inline(always)]
    fn udp(&self, packet: &Packet) -> Option<Window<{ at::UDP }>> {
        packet.at(self.l4)
    }

    #[inline(always)]
    fn source_port(&self) -> u16 {
        self.source_port
    }

    #[inline(always)]
    fn target(&self) -> Target<I> {
        Target {
            destination: self.destination,
            destination_port: self.destination_port,
        }
    }

    #[inline(always)]
    fn flow(&self) -> Flow<I> {
        Segment::flow(self)
    }

    #[inline(always)]
    fn flow_back(&self) -> Flow<I> {
        Flow {
            client: self.destination,
            client_port: self.destination_port,
            vip_port: self.source_port,
        }
    }

    #[inline(always)]
    fn whole(&self) -> Segment<I> {
        *self
    }
}
