//! Routers in a tunnel that find a packet too long: the client is told, in terms that it
//! understands (RFC 2003 section 5, RFC 2473 section 8).

use lb_common::{
    abi::{Family, Forward},
    verdict::Verdict,
};

use super::{Message, Quote, Sent};
use crate::{
    flow::Flows,
    frame::{self, Frame},
    ip::{Address, Ip, V4, V6},
    maps, node,
    outcome::Outcome,
    packet::{MAX_OFFSET, Packet, growth},
    parse::{UDP, at},
    service,
};

const IN_IPV4: u8 = 4;
const IN_IPV6: u8 = 41;

/// What a router has found too long: a packet of a tunnel.
#[derive(Clone, Copy)]
struct Tunnelled<A> {
    /// Where the tunnel ends.
    destination: A,
    /// The router's maximum.
    mtu: u32,
    /// Where in the frame the client's packet begins, and where what is there of it ends.
    inner: usize,
    end: usize,
    /// The version that it may be.
    protocol: u8,
    /// GUE: the port that the tunnel ends at, as it lies in the packet.
    port: u16,
    is_udp: bool,
}

/// Tells the client of the packet in a tunnel that an error is about. `None` when it is
/// about none.
#[inline(always)]
#[must_use]
pub fn outer<I: Ip, F: Flows<V4> + Flows<V6>>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
) -> Option<Outcome> {
    let tunnelled = tunnelled(packet, frame, error)?;
    let version = packet
        .at::<1>(tunnelled.inner)
        .map(|byte| byte.load::<u8, 0>() >> 4);
    match (version, tunnelled.is_udp, tunnelled.protocol) {
        (Some(4), true, _) | (Some(4), false, IN_IPV4) => {
            inner::<I, V4, F>(packet, frame, &tunnelled)
        }
        (Some(6), true, _) | (Some(6), false, IN_IPV6) => {
            inner::<I, V6, F>(packet, frame, &tunnelled)
        }
        _ => None,
    }
}

#[inline(always)]
fn tunnelled<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
) -> Option<Tunnelled<I::Address>> {
    let message = packet.at::<{ at::UDP }>(error.l4)?;
    let word = u32::from_be(message.load::<u32, { at::icmp::WORD }>());
    let is_v4 = I::FAMILY == Family::V4;
    // Of ICMP the lower half is the MTU (RFC 1191 section 4).
    let mtu = if is_v4 { word & 0xffff } else { word };
    let kind = message.load::<u16, { at::icmp::TYPE }>() & I::TOO_BIG_BITS;
    // Routers from before RFC 1191 tell no MTU.
    if kind != I::TOO_BIG || is_v4 && mtu == 0 {
        return None;
    }
    let quoted = error.l4 + at::UDP;
    let end = frame.ip + error.length;
    let head = Frame {
        ip: quoted,
        ..*frame
    };
    let protocol = I::carries(packet, &head)?;
    let (source, destination) = I::ends(packet, &head)?;
    if source != error.destination {
        return None;
    }
    let is_udp = protocol == UDP;
    let udp = if is_udp { at::UDP } else { 0 };
    let inner = quoted + I::HEADER + udp;
    let port = packet.at::<{ at::UDP }>(quoted + I::HEADER)?;
    let port = port.load::<u16, { at::port::DESTINATION }>();
    (inner < end).then_some(Tunnelled {
        destination,
        mtu,
        inner: node::any(inner as u64) as usize & MAX_OFFSET,
        end: node::any(end as u64) as usize,
        protocol: node::any(u64::from(protocol)) as u8,
        port,
        is_udp: node::any(u64::from(is_udp)) & 1 != 0,
    })
}

/// Tells the client of the packet inside. `None` when it is none of ours.
#[inline(always)]
fn inner<O: Ip, I: Ip, F: Flows<I>>(
    packet: &Packet,
    frame: &Frame,
    tunnelled: &Tunnelled<O::Address>,
) -> Option<Outcome> {
    let place = I::quoted(packet, tunnelled.inner, tunnelled.end)?;
    let quote: Quote<I> = Quote::at(packet, frame, place)?;
    if !place.is_plain || !quote.source.is_one_host() {
        return None;
    }
    let vip = service::vip::<I>(quote.destination)?;
    let sent: Sent<I> = Sent {
        vip: quote.destination,
        vip_port: quote.destination_port,
        client: quote.source,
        client_port: quote.source_port,
        is_tcp: place.is_tcp,
    };
    let backend = sent.way::<F, false>(vip)?.backend;
    let mode = backend.forward()?;
    let fits = match mode {
        Forward::Ip4 => O::FAMILY == Family::V4 && !tunnelled.is_udp,
        Forward::Ip6 => O::FAMILY == Family::V6 && !tunnelled.is_udp,
        Forward::Gue4 => O::FAMILY == Family::V4 && tunnelled.is_udp,
        Forward::Gue6 => O::FAMILY == Family::V6 && tunnelled.is_udp,
        Forward::Dsr | Forward::Nat | Forward::FullNat => false,
    };
    if !fits || backend.address::<O::Address>() != tunnelled.destination {
        return None;
    }
    if tunnelled.is_udp && backend.tunnel().port() != tunnelled.port {
        return None;
    }
    let hop = maps::route(quote.source)?;
    if !maps::may_tell() {
        return Some(Outcome::here(Verdict::DropTooBig));
    }
    let overhead = u32::from(mode.overhead());
    let mtu = tunnelled.mtu.saturating_sub(overhead).min(0xffff);
    let there = (tunnelled.end - tunnelled.inner) as u32;
    let kind = match I::FAMILY {
        Family::V4 => frame::IPV4,
        Family::V6 => frame::IPV6,
    };
    let bytes = growth(tunnelled.inner, frame.ip);
    let told = frame::part(packet, frame, bytes, kind)
        .is_some_and(|packet| I::tell(packet.context(), there, mtu));
    if !told {
        return Some(Outcome::here(Verdict::DropNoHeadroom));
    }
    Some(
        match frame::send(&Packet::of(packet.context()), frame, hop) {
            Some(refused) => Outcome::here(refused),
            None => Outcome::to(Verdict::RelayTooBig, hop),
        },
    )
}
