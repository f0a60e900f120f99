//! Tunnels: the backend gets the packet as the client sent it, behind an outer header.

use lb_common::{
    abi::{Family, Forward},
    checksum,
    verdict::Verdict,
};

use super::{SPREAD_BITS, Way};
use crate::{
    frame::{self, Frame},
    ip::{Edit, Ip, Six},
    packet::Packet,
    parse::{UDP, at},
};

const PROTOCOL_IPV4: u8 = 4;
const PROTOCOL_IPV6: u8 = 41;
const LIFETIME: u8 = 64;
/// Identification 0, and "don't fragment" (RFC 6864 section 4).
const WHOLE: u32 = 0x4000u32.to_be();
/// Source ports of GUE are these, less the bits that vary by flow: IANA's dynamic ones
/// (draft-ietf-intarea-gue-09 section 5.11.1).
const PORTS: u16 = 0xc000;
const UDP_HEADER: u16 = at::UDP as u16;

/// Puts outer headers before a packet for its backend: before a `PLAIN` one if its next
/// hop has no tags. `mode` is a tunnel. `Some` is the verdict on one that may not go further.
#[inline(always)]
#[must_use]
pub fn forward<I: Ip, const PLAIN: bool>(
    packet: &Packet,
    frame: &Frame,
    way: Way,
    mode: Forward,
) -> Option<Verdict> {
    let backend = way.backend;
    let bits = way.spread();
    let spread = bits | bits << SPREAD_BITS;
    let tunnel = backend.tunnel();
    let Some(length) = I::length(packet, frame) else {
        return Some(Verdict::DropInternal);
    };
    // Forwarding into the tunnel counts a hop (RFC 2003 section 3.1, RFC 2473 section 3.1).
    let inner = I::edit(packet, frame, &Edit::HOP).and_then(|_| I::class(packet, frame));
    let Some(class) = inner else {
        return Some(Verdict::DropInternal);
    };
    let is_udp = matches!(mode, Forward::Gue4 | Forward::Gue6);
    let outer = Outer {
        class,
        spread,
        is_udp,
        protocol: match I::FAMILY {
            Family::V4 => PROTOCOL_IPV4,
            Family::V6 => PROTOCOL_IPV6,
        },
        port: if is_udp { tunnel.port() } else { 0 },
        length,
    };
    let is_v4 = matches!(mode, Forward::Ip4 | Forward::Gue4);
    let kind = if is_v4 { frame::IPV4 } else { frame::IPV6 };
    let overhead = i32::from(mode.overhead());
    let grown = if PLAIN {
        packet.with_head(overhead)
    } else {
        frame::part(packet, frame, overhead, kind)
    };
    let Some(grown) = grown else {
        return Some(Verdict::DropNoHeadroom);
    };
    let written = if is_v4 {
        outer.ipv4(&grown, frame.ip, tunnel.source4(spread), backend.address())
    } else {
        let (high, low) = tunnel.source6(spread);
        outer.ipv6(&grown, frame.ip, Six { high, low }, backend.address())
    };
    if written.is_none() {
        return Some(Verdict::DropInternal);
    }
    if PLAIN {
        return frame::begin(&grown, backend.macs(), Some(kind));
    }
    frame::send(&grown, frame, backend.hop())
}

/// The same for any packet and whatever tunnel its backend has.
#[inline(always)]
#[must_use]
pub fn any<I: Ip>(packet: &Packet, frame: &Frame, way: Way) -> Option<Verdict> {
    match way.backend.forward() {
        Some(mode) => forward::<I, false>(packet, frame, way, mode),
        None => Some(Verdict::DropInternal),
    }
}

/// What outer headers say beside the addresses.
struct Outer {
    class: u8,
    spread: u32,
    is_udp: bool,
    /// What is inside, where there is no UDP header between.
    protocol: u8,
    port: u16,
    /// Length of the packet inside.
    length: u16,
}

impl Outer {
    #[inline(always)]
    fn payload(&self) -> u16 {
        let udp = if self.is_udp { UDP_HEADER } else { 0 };
        self.length.wrapping_add(udp)
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        if self.is_udp { UDP } else { self.protocol }
    }

    /// RFC 2003 section 3.1. DSCP and ECN are the packet's (RFC 2983 section 3, RFC 6040
    /// section 4.1).
    #[inline(always)]
    fn ipv4(&self, packet: &Packet, ip: usize, source: u32, destination: u32) -> Option<()> {
        let header = packet.at::<{ at::IPV4 }>(ip)?;
        let version = u16::from_ne_bytes([0x45, self.class]);
        let length = (at::IPV4 as u16).wrapping_add(self.payload()).to_be();
        let lifetime = u16::from_ne_bytes([LIFETIME, self.protocol()]);
        let words = u64::from(version)
            + u64::from(length)
            + u64::from(WHOLE)
            + u64::from(lifetime)
            + u64::from(source)
            + u64::from(destination);
        header.store::<u16, { at::ipv4::VERSION }>(version);
        header.store::<u16, { at::ipv4::LENGTH }>(length);
        header.store::<u32, { at::ipv4::ID }>(WHOLE);
        header.store::<u16, { at::ipv4::TTL }>(lifetime);
        header.store::<u16, { at::ipv4::CHECKSUM }>(!checksum::fold(words));
        header.store::<u32, { at::ipv4::SOURCE }>(source);
        header.store::<u32, { at::ipv4::DESTINATION }>(destination);
        self.udp(packet, ip + at::IPV4)
    }

    /// RFC 2473 section 3.1; the flow label varies by flow (RFC 6438 section 3).
    #[inline(always)]
    fn ipv6(&self, packet: &Packet, ip: usize, source: Six, destination: Six) -> Option<()> {
        let header = packet.at::<{ at::IPV6 }>(ip)?;
        let version = 6 << 28 | u32::from(self.class) << 20 | self.spread & 0xf_ffff;
        header.store::<u32, { at::ipv6::VERSION }>(version.to_be());
        header.store::<u16, { at::ipv6::LENGTH }>(self.payload().to_be());
        let next = u16::from_ne_bytes([self.protocol(), LIFETIME]);
        header.store::<u16, { at::ipv6::NEXT }>(next);
        header.store::<u64, { at::ipv6::SOURCE }>(source.high);
        header.store::<u64, { at::ipv6::SOURCE + 8 }>(source.low);
        header.store::<u64, { at::ipv6::DESTINATION }>(destination.high);
        header.store::<u64, { at::ipv6::DESTINATION + 8 }>(destination.low);
        self.udp(packet, ip + at::IPV6)
    }

    /// Without a checksum, which the packet inside has of its own (RFC 6935).
    #[inline(always)]
    fn udp(&self, packet: &Packet, at: usize) -> Option<()> {
        if !self.is_udp {
            return Some(());
        }
        let header = packet.at::<{ at::UDP }>(at)?;
        let source = PORTS | self.spread as u16 & !PORTS;
        header.store::<u16, { at::port::SOURCE }>(source.to_be());
        header.store::<u16, { at::port::DESTINATION }>(self.port);
        header.store::<u16, { at::port::LENGTH }>(self.payload().to_be());
        header.store::<u16, { at::UDP_CHECKSUM }>(0);
        Some(())
    }
}
