//! IPv6 (RFC 8200).

use lb_common::{flow::Signs, verdict::Verdict};
use network_types::eth::EthHdr;

use super::{
    Flow, Kind, Parsed, Segment, TCP, Target, UDP, at,
    extension::{self, ICMP},
    plain,
};
use crate::{
    frame::Frame,
    ip::{Six, V6},
    packet::{Packet, Window},
};

/// Types of ICMPv6 errors (RFC 4443 section 2.1), those that are assigned.
const ERRORS: core::ops::RangeInclusive<u8> = 1..=4;
/// Type 128, code 0 (RFC 4443 section 4.1).
const ECHO_REQUEST: u16 = 0x8000u16.to_be();
/// RFC 4861 section 4.3.
const SOLICITATION: u8 = 135;

/// What the header says of the segment behind it, at `l4` in the frame.
#[inline(always)]
fn segment(header: Window<{ at::IPV6 }>, protocol: u8, l4: usize) -> Segment<V6> {
    let payload = usize::from(u16::from_be(header.load::<u16, { at::ipv6::LENGTH }>()));
    Segment {
        protocol,
        length: at::IPV6 + payload,
        l4,
        source: Six::load::<{ at::IPV6 }, { at::ipv6::SOURCE }>(header),
        destination: Six::load::<{ at::IPV6 }, { at::ipv6::DESTINATION }>(header),
        ..Segment::NONE
    }
}

/// The IP header and what is behind it in a plain packet. One question for both protocols: a
/// datagram of less than 12 bytes isn't plain.
#[inline(always)]
fn headers(packet: &Packet) -> Option<(Window<{ at::IPV6 }>, Window<{ at::TCP }>)> {
    let frame = packet.window::<{ EthHdr::LEN + at::IPV6 + at::TCP }>()?;
    Some((
        frame.rest::<{ EthHdr::LEN }, _>(),
        frame.rest::<{ EthHdr::LEN + at::IPV6 }, _>(),
    ))
}

/// The segment of a plain packet, see [`crate::ip::Ip::whole`]. Most ways need neither both
/// addresses nor both ports.
#[inline(always)]
#[must_use]
pub fn whole(packet: &Packet, signs: Signs) -> Option<Segment<V6>> {
    let (header, head) = headers(packet)?;
    let payload = usize::from(u16::from_be(header.load::<u16, { at::ipv6::LENGTH }>()));
    let segment = Segment {
        protocol: protocol(header),
        flags: signs.flags(),
        length: at::IPV6 + payload,
        l4: EthHdr::LEN + at::IPV6,
        source: Six::peek::<{ at::IPV6 }, { at::ipv6::SOURCE }>(header),
        destination: Six::peek::<{ at::IPV6 }, { at::ipv6::DESTINATION }>(header),
        ..Segment::NONE
    };
    Some(plain::whole(segment, head))
}

/// The flow of a plain packet, see [`crate::ip::Ip::flow`].
#[inline(always)]
#[must_use]
pub fn flow(packet: &Packet) -> Option<Flow<V6>> {
    let (header, head) = headers(packet)?;
    let client = Six::load::<{ at::IPV6 }, { at::ipv6::SOURCE }>(header);
    Some(plain::flow(client, head))
}

/// The same of one from a server, see [`crate::ip::Ip::flow_back`].
#[inline(always)]
#[must_use]
pub fn flow_back(packet: &Packet) -> Option<Flow<V6>> {
    let (header, head) = headers(packet)?;
    let client = Six::load::<{ at::IPV6 }, { at::ipv6::DESTINATION }>(header);
    Some(plain::flow_back(client, head))
}

/// Whom a plain packet is for, see [`crate::ip::Ip::target`].
#[inline(always)]
#[must_use]
pub fn target(packet: &Packet) -> Option<Target<V6>> {
    let (header, head) = headers(packet)?;
    Some(Target {
        destination: Six::load::<{ at::IPV6 }, { at::ipv6::DESTINATION }>(header),
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
fn protocol(header: Window<{ at::IPV6 }>) -> u8 {
    header.load::<u8, { at::ipv6::NEXT }>()
}

/// Whether a packet is plain, see [`crate::ip::Ip::plain`].
#[inline(always)]
#[must_use]
pub fn plain(packet: &Packet) -> Option<Signs> {
    let (header, head) = headers(packet)?;
    if header.load::<u8, { at::ipv6::VERSION }>() >> 4 != 6 {
        return None;
    }
    let payload = usize::from(u16::from_be(header.load::<u16, { at::ipv6::LENGTH }>()));
    if EthHdr::LEN + at::IPV6 + payload > packet.length() {
        return None;
    }
    match header.load::<u8, { at::ipv6::NEXT }>() {
        TCP if payload >= at::TCP => Some(Signs::tcp(head.load::<u8, { at::TCP_FLAGS }>())),
        UDP if payload >= at::UDP => Some(Signs::UDP),
        _ => None,
    }
}

/// Tells what an IPv6 packet, addressed to us, is.
#[inline(always)]
#[must_use]
pub fn parse(packet: &Packet, frame: &Frame) -> Parsed<V6> {
    let Some(header) = packet.at::<{ at::IPV6 }>(frame.ip) else {
        return Parsed::foreign(Verdict::PassMalformed);
    };
    if header.load::<u8, { at::ipv6::VERSION }>() >> 4 != 6 {
        return Parsed::foreign(Verdict::PassMalformed);
    }
    let next = header.load::<u8, { at::ipv6::NEXT }>();
    let mut segment = segment(header, next, frame.ip + at::IPV6);
    let end = frame.ip + segment.length;
    if end > packet.length() {
        return Parsed::stray(segment, Verdict::DropMalformed);
    }
    // Nearly every packet has none.
    if next == TCP || next == UDP {
        return super::ports(packet, segment, segment.length - at::IPV6);
    }
    let chain = extension::follow(packet, segment.l4, next, end);
    segment.l4 = chain.l4;
    segment.is_first = chain.is_first;
    segment.id = chain.id;
    segment.protocol = chain.protocol;
    if chain.is_refused {
        let verdict = if chain.is_malformed {
            Verdict::DropMalformed
        } else {
            Verdict::DropExtension
        };
        return Parsed::stray(segment, verdict);
    }
    if chain.is_later {
        return Parsed::of(Kind::Fragment, segment);
    }
    let payload = end - chain.l4;
    match chain.protocol {
        TCP | UDP => super::ports(packet, segment, payload),
        ICMP if chain.is_first => Parsed::stray(segment, Verdict::DropFragment),
        ICMP => icmp(packet, segment, payload, next == ICMP),
        _ => Parsed::stray(segment, Verdict::DropVipProtocol),
    }
}

#[inline(always)]
fn icmp(packet: &Packet, segment: Segment<V6>, payload: usize, plain: bool) -> Parsed<V6> {
    let Some(message) = packet.at::<{ at::UDP }>(segment.l4) else {
        return Parsed::stray(segment, Verdict::DropMalformed);
    };
    if payload < at::UDP {
        return Parsed::stray(segment, Verdict::DropMalformed);
    }
    let word = message.load::<u16, { at::icmp::TYPE }>();
    let kind = word as u8;
    if plain && word == ECHO_REQUEST {
        return Parsed::of(Kind::Echo, segment);
    }
    if plain && kind == SOLICITATION {
        return Parsed::of(Kind::Solicitation, segment);
    }
    if ERRORS.contains(&kind) {
        return Parsed::of(Kind::Error, segment);
    }
    Parsed::stray(segment, Verdict::DropVipProtocol)
}
