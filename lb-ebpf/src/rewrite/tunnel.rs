//! Tunnels: the backend gets the packet as the client sent it, behind an outer header.

use lb_common::{
    abi::{Family, Forward},
    checksum,
    verdict::Verdict,
};
use network_types::eth::EthHdr;

use super::{SPREAD_BITS, Way};
use crate::{
    frame::{self, Frame},
    ip::{Ip, Six},
    maps::{BackendRef, TunnelRef},
    outcome::Outcome,
    packet::{Packet, Window},
    parse::{UDP, at},
};

const PROTOCOL_IPV4: u8 = 4;
const PROTOCOL_IPV6: u8 = 41;
const LIFETIME: u8 = 64;
/// Identification 0, and "don't fragment" (RFC 6864 section 4).
const WHOLE: u32 = 0x4000u32.to_be();
/// Bits of all source ports of GUE, as they lie in the packet: those of IANA's dynamic ports
/// (draft-ietf-intarea-gue-09 section 5.11.1). The others vary by flow, in whatever order.
const PORTS: u16 = 0xc000u16.to_be();
const LINK: usize = EthHdr::LEN;
const UDP_HEADER: usize = at::UDP;
const IP4: usize = at::IPV4;
const IP6: usize = at::IPV6;
const GUE4: usize = IP4 + UDP_HEADER;
const GUE6: usize = IP6 + UDP_HEADER;

/// Puts outer headers before a packet for its backend: before a `PLAIN` one if its next hop has no
/// tags. `mode` is a tunnel. `Some` is what became of one that may not go further.
#[inline(always)]
#[must_use]
pub fn forward<I: Ip, const PLAIN: bool>(
    packet: &Packet,
    frame: &Frame,
    way: Way,
    mode: Forward,
    lifetime: u8,
) -> Option<Outcome> {
    let backend = way.backend;
    let bits = way.spread();
    // The same bits again above themselves, in one instruction.
    let spread = bits.wrapping_mul(1 | 1 << SPREAD_BITS);
    // Forwarding into the tunnel counts a hop (RFC 2003 section 3.1, RFC 2473 section 3.1).
    if I::hop(packet, frame, lifetime).is_none() {
        return Some(Outcome::seldom(Verdict::DropInternal));
    }
    let is_v4 = matches!(mode, Forward::Ip4 | Forward::Gue4);
    let kind = if is_v4 { frame::IPV4 } else { frame::IPV6 };
    let overhead = i32::from(mode.overhead());
    let grown = if PLAIN {
        packet.with_head(overhead)
    } else {
        frame::part(packet, frame, overhead, kind)
    };
    let Some(grown) = grown else {
        return Some(Outcome::seldom(Verdict::DropNoHeadroom));
    };
    // Read where it lies now, for nothing is to be kept meanwhile.
    let inside = Frame {
        ip: frame.ip + usize::from(mode.overhead()),
        ..*frame
    };
    // The greater part first: one question for all.
    let Some(length) = I::length(&grown, &inside) else {
        return Some(Outcome::seldom(Verdict::DropInternal));
    };
    let Some((class, first)) = first::<I, PLAIN>(&grown, &inside) else {
        return Some(Outcome::seldom(Verdict::DropInternal));
    };
    let is_udp = matches!(mode, Forward::Gue4 | Forward::Gue6);
    let outer = Outer {
        backend,
        tunnel: backend.tunnel(),
        class,
        first,
        spread,
        is_udp,
        protocol: match I::FAMILY {
            Family::V4 => PROTOCOL_IPV4,
            Family::V6 => PROTOCOL_IPV6,
        },
        length,
    };
    let written = match mode {
        Forward::Ip4 => heads::<PLAIN, IP4, { LINK + IP4 }>(&grown, frame).map(|(link, heads)| {
            outer.ipv4(heads);
            link
        }),
        Forward::Gue4 => {
            heads::<PLAIN, GUE4, { LINK + GUE4 }>(&grown, frame).map(|(link, heads)| {
                outer.ipv4(heads.narrow());
                outer.udp(heads.rest::<IP4, UDP_HEADER>());
                link
            })
        }
        Forward::Ip6 => heads::<PLAIN, IP6, { LINK + IP6 }>(&grown, frame).map(|(link, heads)| {
            outer.ipv6(heads);
            link
        }),
        Forward::Gue6 => {
            heads::<PLAIN, GUE6, { LINK + GUE6 }>(&grown, frame).map(|(link, heads)| {
                outer.ipv6(heads.narrow());
                outer.udp(heads.rest::<IP6, UDP_HEADER>());
                link
            })
        }
        Forward::Dsr | Forward::Nat | Forward::FullNat => None,
    };
    match written {
        None => Some(Outcome::seldom(Verdict::DropInternal)),
        Some(Some(link)) => {
            frame::address(link, backend.hop().macs());
            frame::set_kind(link, kind);
            None
        }
        Some(None) => frame::send(&grown, frame, backend.hop()).map(Outcome::here),
    }
}

/// DSCP and ECN of the packet, and the first two bytes of an outer IPv4 header with those.
#[inline(always)]
fn first<I: Ip, const PLAIN: bool>(packet: &Packet, frame: &Frame) -> Option<(u8, u16)> {
    if PLAIN && I::FAMILY == Family::V4 {
        // It has no options either, so they are its own.
        let first = packet.at::<2>(frame.ip)?.load::<u16, 0>();
        let [_, class] = first.to_ne_bytes();
        return Some((class, first));
    }
    let class = I::class(packet, frame)?;
    Some((class, u16::from_ne_bytes([0x45, class])))
}

/// The place of `OUTER` bytes of outer headers, and in a `PLAIN` frame that of the link layer
/// before them: `ALL` bytes together, so that they are asked for once.
#[inline(always)]
fn heads<const PLAIN: bool, const OUTER: usize, const ALL: usize>(
    packet: &Packet,
    frame: &Frame,
) -> Option<(Option<Window<LINK>>, Window<OUTER>)> {
    if PLAIN {
        let all = packet.window::<ALL>()?;
        return Some((Some(all.narrow()), all.rest::<LINK, OUTER>()));
    }
    Some((None, packet.at::<OUTER>(frame.ip)?))
}

/// The same for any packet and whatever tunnel its backend has.
#[inline(always)]
#[must_use]
pub fn any<I: Ip>(packet: &Packet, frame: &Frame, way: Way) -> Option<Outcome> {
    match (way.backend.forward(), I::lifetime(packet, frame)) {
        (Some(mode), Some(lifetime)) => forward::<I, false>(packet, frame, way, mode, lifetime),
        _ => Some(Outcome::seldom(Verdict::DropInternal)),
    }
}

/// What outer headers say. Each address is read where it is written: nothing is kept meanwhile.
struct Outer {
    backend: BackendRef,
    tunnel: TunnelRef,
    class: u8,
    /// IPv4: version, header length, and `class`.
    first: u16,
    spread: u32,
    is_udp: bool,
    /// What is inside, where there is no UDP header between.
    protocol: u8,
    /// Length of the packet inside.
    length: u16,
}

impl Outer {
    #[inline(always)]
    fn payload(&self) -> u16 {
        let udp = if self.is_udp { UDP_HEADER as u16 } else { 0 };
        self.length.wrapping_add(udp)
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        if self.is_udp { UDP } else { self.protocol }
    }

    /// RFC 2003 section 3.1. DSCP and ECN are the packet's (RFC 2983 section 3, RFC 6040
    /// section 4.1).
    #[inline(always)]
    fn ipv4(&self, header: Window<IP4>) {
        let lifetime = u16::from_ne_bytes([LIFETIME, self.protocol()]);
        header.store::<u16, { at::ipv4::VERSION }>(self.first);
        let length = (at::IPV4 as u16).wrapping_add(self.payload()).to_be();
        // Length, identification and flags, lifetime and protocol lie beside each other.
        let rest = u64::from(WHOLE) << 16 | u64::from(lifetime) << 48;
        header.store::<u64, { at::ipv4::LENGTH }>(u64::from(length) | rest);
        let source = self.tunnel.source4(self.spread);
        header.store::<u32, { at::ipv4::SOURCE }>(source);
        let destination: u32 = self.backend.address();
        header.store::<u32, { at::ipv4::DESTINATION }>(destination);
        let words = u64::from(self.first)
            + u64::from(length)
            + u64::from(WHOLE)
            + u64::from(lifetime)
            + u64::from(source)
            + u64::from(destination);
        header.store::<u16, { at::ipv4::CHECKSUM }>(!checksum::fold(words));
    }

    /// RFC 2473 section 3.1; the flow label varies by flow (RFC 6438 section 3).
    #[inline(always)]
    fn ipv6(&self, header: Window<IP6>) {
        let version = 6 << 28 | u32::from(self.class) << 20 | self.spread & 0xf_ffff;
        header.store::<u32, { at::ipv6::VERSION }>(version.to_be());
        let next = u16::from_ne_bytes([self.protocol(), LIFETIME]);
        // The next header and the hop limit lie behind the length.
        let length = u32::from(self.payload().to_be()) | u32::from(next) << 16;
        header.store::<u32, { at::ipv6::LENGTH }>(length);
        header.store_pair::<{ at::ipv6::SOURCE }>(self.tunnel.source6(self.spread));
        let destination: Six = self.backend.address();
        header.store::<u64, { at::ipv6::DESTINATION }>(destination.high);
        header.store::<u64, { at::ipv6::DESTINATION + 8 }>(destination.low);
    }

    /// Without a checksum, which the packet inside has of its own (RFC 6935).
    #[inline(always)]
    fn udp(&self, header: Window<UDP_HEADER>) {
        header.store::<u16, { at::port::SOURCE }>(self.spread as u16 | PORTS);
        header.store::<u16, { at::port::DESTINATION }>(self.tunnel.port());
        // The checksum behind it is 0.
        let length = u32::from(self.payload().to_be());
        header.store::<u32, { at::port::LENGTH }>(length);
    }
}
