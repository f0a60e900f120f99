//! IPv4 (RFC 791).

use lb_common::{flow::Signs, verdict::Verdict};
use network_types::{eth::EthHdr, ip::IpProto};

use super::{Flow, Kind, Parsed, Segment, TCP, Target, UDP, at, plain};
use crate::{
    frame::Frame,
    ip::V4,
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

/// The IP header and what is behind it in a plain packet. One question for both protocols:
/// Ethernet's shortest frames are longer.
#[inline(always)]
fn headers(packet: &Packet) -> Option<(Window<{ at::IPV4 }>, Window<{ at::TCP }>)> {
    let frame = packet.window::<{ EthHdr::LEN + at::IPV4 + at::TCP }>()?;
    Some((
        frame.rest::<{ EthHdr::LEN }, _>(),
        frame.rest::<{ EthHdr::LEN + at::IPV4 }, _>(),
    ))
}

/// The segment of a plain packet, see [`crate::ip::Ip::whole`]. Most ways need neither both
/// addresses nor both ports.
#[inline(always)]
#[must_use]
pub fn whole(packet: &Packet, signs: Signs) -> Option<Segment<V4>> {
    let (header, head) = headers(packet)?;
    let segment = Segment {
        protocol: protocol(header),
        flags: signs.flags(),
        length: usize::from(u16::from_be(header.load::<u16, { at::ipv4::LENGTH }>())),
        l4: EthHdr::LEN + at::IPV4,
        source: header.peek::<u32, { at::ipv4::SOURCE }>(),
        destination: header.peek::<u32, { at::ipv4::DESTINATION }>(),
        ..Segment::NONE
    };
    Some(plain::whole(segment, head))
}

/// The flow of a plain packet, see [`crate::ip::Ip::flow`].
#[inline(always)]
#[must_use]
pub fn flow(packet: &Packet) -> Option<Flow<V4>> {
    let (header, head) = headers(packet)?;
    let client = header.load::<u32, { at::ipv4::SOURCE }>();
    Some(plain::flow(client, head))
}

/// The same of one from a server, see [`crate::ip::Ip::flow_back`].
#[inline(always)]
#[must_use]
pub fn flow_back(packet: &Packet) -> Option<Flow<V4>> {
    let (header, head) = headers(packet)?;
    let client = header.load::<u32, { at::ipv4::DESTINATION }>();
    Some(plain::flow_back(client, head))
}

/// Whom a plain packet is for, see [`crate::ip::Ip::target`].
#[inline(always)]
#[must_use]
pub fn target(packet: &Packet) -> Option<Target<V4>> {
    let (header, head) = headers(packet)?;
    Some(Target {
        destination: header.load::<u32, { at::ipv4::DESTINATION }>(),
        destination_port: head.load::<u16, { at::port::DESTINATION }>(),
    })
}

/// The protocol of a plain packet, see [`crate::ip::Ip::carries_plain`].
#[inline(always)]
#[must_use]
pub fn carries_plain(packet: &Packet) -> Option<u8> {
    Some(protocol(headers(packet)?.0))
}

#[inline(always)]
fn protocol(header: Window<{ at::IPV4 }>) -> u8 {
    header.load::<u8, { at::ipv4::PROTOCOL }>()
}

/// Whether a packet is plain, see [`crate::ip::Ip::plain`].
#[inline(always)]
#[must_use]
pub fn plain(packet: &Packet) -> Option<Signs> {
    let (header, head) = headers(packet)?;
    if header.load::<u8, { at::ipv4::VERSION }>() != SIMPLE {
        return None;
    }
    let length = usize::from(u16::from_be(header.load::<u16, { at::ipv4::LENGTH }>()));
    if EthHdr::LEN + length > packet.length() {
        return None;
    }
    match header.load::<u32, { at::ipv4::FRAGMENT }>() & WHOLE {
        WHOLE_TCP if length >= at::IPV4 + at::TCP => {
            Some(Signs::tcp(head.load::<u8, { at::TCP_FLAGS }>()))
        }
        WHOLE_UDP if length >= at::IPV4 + at::UDP => Some(Signs::UDP),
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
