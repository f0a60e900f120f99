//! IPv6 (RFC 8200).

use lb_common::{abi, verdict::Verdict};
use network_types::eth::EthHdr;

use super::{
    Kind, Parsed, Segment, TCP, UDP, at,
    extension::{self, ICMP},
    plain,
};
use crate::{
    frame::{self, Frame},
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

/// What a plain packet's frame begins with. One question for both protocols: a datagram of less
/// than 12 bytes isn't plain.
pub type Head = Window<{ EthHdr::LEN + at::IPV6 + at::TCP }>;

/// The IP header in it.
#[inline(always)]
fn ip(head: Head) -> Window<{ at::IPV6 }> {
    head.rest::<{ EthHdr::LEN }, _>()
}

impl plain::Head<V6> for Head {
    #[inline(always)]
    fn protocol(self) -> u8 {
        ip(self).load::<u8, { at::ipv6::NEXT }>()
    }

    #[inline(always)]
    fn length(self) -> u16 {
        let payload = u16::from_be(ip(self).load::<u16, { at::ipv6::LENGTH }>());
        payload.wrapping_add(at::IPV6 as u16)
    }

    #[inline(always)]
    fn segment(self) -> Window<{ at::TCP }> {
        self.rest::<{ EthHdr::LEN + at::IPV6 }, _>()
    }

    #[inline(always)]
    fn source(self) -> Six {
        Six::load::<{ at::IPV6 }, { at::ipv6::SOURCE }>(ip(self))
    }

    #[inline(always)]
    fn destination(self) -> Six {
        Six::load::<{ at::IPV6 }, { at::ipv6::DESTINATION }>(ip(self))
    }

    #[inline(always)]
    fn source_folded(self) -> u64 {
        Six::load_folded::<{ at::IPV6 }, { at::ipv6::SOURCE }>(ip(self))
    }

    #[inline(always)]
    fn destination_folded(self) -> u64 {
        Six::load_folded::<{ at::IPV6 }, { at::ipv6::DESTINATION }>(ip(self))
    }

    #[inline(always)]
    fn ends(self) -> (Six, Six) {
        (
            Six::peek::<{ at::IPV6 }, { at::ipv6::SOURCE }>(ip(self)),
            Six::peek::<{ at::IPV6 }, { at::ipv6::DESTINATION }>(ip(self)),
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
pub fn plain(packet: &Packet, _: Window<{ frame::LEAST }>) -> Option<(Head, u32)> {
    let head: Head = packet.window()?;
    let header = ip(head);
    if header.load::<u8, { at::ipv6::VERSION }>() >> 4 != 6 {
        return None;
    }
    let payload = usize::from(u16::from_be(header.load::<u16, { at::ipv6::LENGTH }>()));
    if EthHdr::LEN + at::IPV6 + payload > packet.length() {
        return None;
    }
    let protocol = plain::Head::<V6>::protocol(head);
    let carried = abi::carried(protocol);
    match protocol {
        TCP if payload >= at::TCP => Some((head, carried)),
        UDP if payload >= at::UDP => Some((head, carried)),
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
