//! IPv4 (RFC 791).

use lb_common::verdict::Verdict;
use network_types::{eth::EthHdr, ip::IpProto};

use super::{Kind, Parsed, Segment, TCP, UDP, at, plain};
use crate::{
    frame::{self, Frame},
    ip::{Address as _, V4},
    packet::{Packet, Window},
};

const ICMP: u8 = IpProto::Icmp as u8;
/// Version 4, and a header without options.
const SIMPLE: u8 = 0x45;
const MORE_FRAGMENTS: u16 = 0x2000u16.to_be();
const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();
/// What says in four bytes, from the flags on, that a packet is whole, and its protocol.
const WHOLE: u32 = u32::from_be_bytes([0x3f, 0xff, 0, 0xff]).to_be();
const WHOLE_TCP: u32 = u32::from_be_bytes([0, 0, 0, TCP]).to_be();
const WHOLE_UDP: u32 = u32::from_be_bytes([0, 0, 0, UDP]).to_be();
/// Types of ICMP errors: destination unreachable, time exceeded, parameter problem
/// (RFC 792).
const ERRORS: [u8; 3] = [3, 11, 12];
/// Type 8, code 0 (RFC 792).
const ECHO_REQUEST: u16 = 0x0800u16.to_be();

/// What the header says of the segment behind it, at `l4` in the frame.
#[inline(always)]
fn segment(header: Window<{ at::IPV4 }>, protocol: u8, l4: usize) -> Segment<V4> {
    Segment {
        protocol,
        length: usize::from(u16::from_be(header.load::<u16, { at::ipv4::LENGTH }>())),
        l4,
        source: header.load::<u32, { at::ipv4::SOURCE }>(),
        destination: header.load::<u32, { at::ipv4::DESTINATION }>(),
        ..Segment::NONE
    }
}

/// What a plain packet's frame begins with. One question for both protocols: Ethernet's shortest
/// frames are longer.
pub type Head = Window<{ EthHdr::LEN + at::IPV4 + at::TCP }>;
const _: () = assert!(EthHdr::LEN + at::IPV4 + at::TCP == frame::LEAST);

/// The IP header in it.
#[inline(always)]
fn ip(head: Head) -> Window<{ at::IPV4 }> {
    head.rest::<{ EthHdr::LEN }, _>()
}

impl plain::Head<V4> for Head {
    #[inline(always)]
    fn protocol(self) -> u8 {
        ip(self).load::<u8, { at::ipv4::PROTOCOL }>()
    }

    #[inline(always)]
    fn length(self) -> u16 {
        u16::from_be(ip(self).load::<u16, { at::ipv4::LENGTH }>())
    }

    #[inline(always)]
    fn segment(self) -> Window<{ at::TCP }> {
        self.rest::<{ EthHdr::LEN + at::IPV4 }, _>()
    }

    #[inline(always)]
    fn source(self) -> u32 {
        ip(self).load::<u32, { at::ipv4::SOURCE }>()
    }

    #[inline(always)]
    fn destination(self) -> u32 {
        ip(self).load::<u32, { at::ipv4::DESTINATION }>()
    }

    #[inline(always)]
    fn source_folded(self) -> u64 {
        self.source().folded()
    }

    #[inline(always)]
    fn destination_folded(self) -> u64 {
        self.destination().folded()
    }

    #[inline(always)]
    fn ends(self) -> (u32, u32) {
        (
            ip(self).peek::<u32, { at::ipv4::SOURCE }>(),
            ip(self).peek::<u32, { at::ipv4::DESTINATION }>(),
        )
    }

    #[inline(always)]
    fn again(self) -> Self {
        Window::again(self)
    }
}

/// Whether a packet is plain, see [`crate::ip::Ip::plain`].
#[inline(always)]
#[must_use]
pub fn plain(packet: &Packet, least: Window<{ frame::LEAST }>) -> Option<(Head, u32)> {
    let (head, header) = (least, ip(least));
    if header.load::<u8, { at::ipv4::VERSION }>() != SIMPLE {
        return None;
    }
    let length = usize::from(plain::Head::length(head));
    if EthHdr::LEN + length > packet.length() {
        return None;
    }
    let carried = header.load::<u32, { at::ipv4::FRAGMENT }>() & WHOLE;
    match carried {
        WHOLE_TCP if length >= at::IPV4 + at::TCP => Some((head, carried)),
        WHOLE_UDP if length >= at::IPV4 + at::UDP => Some((head, carried)),
        _ => None,
    }
}

/// Tells what an IPv4 packet, addressed to us, is.
#[inline(always)]
#[must_use]
pub fn parse(packet: &Packet, frame: &Frame) -> Parsed<V4> {
    let Some(header) = packet.at::<{ at::IPV4 }>(frame.ip) else {
        return Parsed::foreign(Verdict::PassMalformed);
    };
    let version = header.load::<u8, { at::ipv4::VERSION }>();
    if version >> 4 != 4 {
        return Parsed::foreign(Verdict::PassMalformed);
    }
    let head = usize::from(version & 15) * 4;
    let fragment = header.load::<u16, { at::ipv4::FRAGMENT }>();
    let protocol = header.load::<u8, { at::ipv4::PROTOCOL }>();
    let segment = Segment {
        is_first: fragment & MORE_FRAGMENTS != 0,
        id: u32::from(header.load::<u16, { at::ipv4::ID }>()),
        ..segment(header, protocol, frame.ip + head)
    };
    let length = segment.length;
    if head < at::IPV4 || length < head || frame.ip + length > packet.length() {
        return Parsed::stray(segment, Verdict::DropMalformed);
    }
    let payload = length - head;
    if fragment & FRAGMENT_OFFSET != 0 {
        return match protocol {
            TCP | UDP => Parsed::of(Kind::Fragment, segment),
            ICMP => Parsed::stray(segment, Verdict::DropFragment),
            _ => Parsed::stray(segment, Verdict::DropVipProtocol),
        };
    }
    match protocol {
        TCP | UDP => super::ports(packet, segment, payload),
        ICMP if segment.is_first => Parsed::stray(segment, Verdict::DropFragment),
        ICMP => icmp(packet, segment, payload),
        _ => Parsed::stray(segment, Verdict::DropVipProtocol),
    }
}

#[inline(always)]
fn icmp(packet: &Packet, segment: Segment<V4>, payload: usize) -> Parsed<V4> {
    let Some(message) = packet.at::<{ at::UDP }>(segment.l4) else {
        return Parsed::stray(segment, Verdict::DropMalformed);
    };
    if payload < at::UDP {
        return Parsed::stray(segment, Verdict::DropMalformed);
    }
    let kind = message.load::<u16, { at::icmp::TYPE }>();
    let plain = segment.length - payload == at::IPV4;
    if kind == ECHO_REQUEST && plain {
        return Parsed::of(Kind::Echo, segment);
    }
    let [a, b, c] = ERRORS;
    let kind = kind as u8;
    if kind == a || kind == b || kind == c {
        return Parsed::of(Kind::Error, segment);
    }
    Parsed::stray(segment, Verdict::DropVipProtocol)
}
