//! Outer headers: section 3, `tunnel`.

use std::net::IpAddr;

use super::{
    Effect, Key, Model, Outcome, Seen,
    frames::{self, ipv4_header, ipv6_header},
    parse::{Ip, link},
};
use crate::{
    bytes::{long, octets, put_word, word},
    site::{Backend, GUE_PORT, Tunnel, UDP},
    sum::update,
};
use lb_common::verdict::Verdict;

/// The 32 bits that vary with the flow, as far as they are known.
struct Spread {
    mask: u32,
    bits: u32,
}

impl Spread {
    /// Bits that were seen; those that are known already stay.
    fn learn(&mut self, mask: u32, seen: u32) {
        let new = mask & !self.mask;
        self.bits |= seen & new;
        self.mask |= new;
    }
}

impl Model {
    /// The packet behind outer headers.
    pub(super) fn encapsulated(
        &self,
        seen: &Seen<'_>,
        backend: &Backend,
        key: Key,
        verdict: Verdict,
    ) -> Outcome {
        let Seen {
            frame,
            link,
            ip,
            got,
        } = *seen;

        let Some(tunnel) = backend.tunnel else {
            return Outcome::drop(Verdict::DropInternal);
        };
        let (mask, bits) = self.spread.get(&key).copied().unwrap_or_default();
        let mut spread = Spread { mask, bits };
        observe(&mut spread, backend, &tunnel, got.frame);
        let inner = one_hop_less(frame, ip);
        let outer = outer(backend, &tunnel, ip, spread.bits);
        let mut body = outer;
        // Where the inner header's checksum lies behind it.
        let zeros: Vec<usize> = (!ip.is_v6())
            .then_some(body.len() + 10)
            .into_iter()
            .collect();
        body.extend(inner);
        let ether_type = if backend.mode.is_outer6() {
            frames::IPV6
        } else {
            frames::IPV4
        };
        let sent = frames::to_hop(link, &backend.hop, ether_type, &body);
        let mut outcome = frames::sent(verdict, frames::way(&backend.hop), sent, &zeros);
        outcome
            .effects
            .push(Effect::Spread(key, spread.mask, spread.bits));
        outcome
    }
}

/// The packet, and what is behind it, with its TTL counted down.
fn one_hop_less(frame: &[u8], ip: &Ip) -> Vec<u8> {
    let mut inner = frame[ip.at..].to_vec();
    if ip.is_v6() {
        inner[7] -= 1;
    } else {
        let before = inner[8..10].to_vec();
        inner[8] -= 1;
        let checksum = update(word(&inner, 10), &before, &inner[8..10]);
        put_word(&mut inner, 10, checksum);
    }
    inner
}

fn outer(backend: &Backend, tunnel: &Tunnel, ip: &Ip, spread: u32) -> Vec<u8> {
    let source = source(tunnel, spread);
    let mut payload = ip.length;
    let mut protocol = if ip.is_v6() { 41 } else { 4 };
    let mut udp = Vec::new();
    if backend.mode.is_gue() {
        payload += 8;
        protocol = UDP;
        // As for the source, as they lie in memory.
        let [first, second, ..] = spread.to_le_bytes();
        udp.extend([first | 0xc0, second]);
        udp.extend(GUE_PORT.to_be_bytes());
        udp.extend((payload as u16).to_be_bytes());
        udp.extend([0, 0]);
    }
    let mut header = if backend.mode.is_outer6() {
        ipv6_header(
            ip.class,
            spread,
            payload,
            protocol,
            64,
            source,
            backend.address,
        )
    } else {
        let length = 20 + payload;
        ipv4_header(ip.class, length, 0x4000, protocol, source, backend.address)
    };
    header.extend(udp);
    header
}

/// The source address: every word of it varies with the same bits, as they lie in memory.
fn source(tunnel: &Tunnel, spread: u32) -> IpAddr {
    let varied: Vec<u8> = octets(tunnel.source)
        .into_iter()
        .zip(octets(tunnel.varying))
        .zip(spread.to_le_bytes().into_iter().cycle())
        .map(|((byte, varying), bits)| byte | (varying & bits))
        .collect();
    match <[u8; 4]>::try_from(varied.as_slice()) {
        Ok(octets) => IpAddr::from(octets),
        Err(_) => crate::bytes::address6(&varied, 0),
    }
}

/// Takes the bits that vary from the frame that came out, as far as it has them.
fn observe(spread: &mut Spread, backend: &Backend, tunnel: &Tunnel, frame: &[u8]) {
    let Some(head) = link(frame).map(|link| link.head) else {
        return;
    };
    let outer6 = backend.mode.is_outer6();
    let (header, source_at) = if outer6 { (40, 8) } else { (20, 12) };
    if frame.len() < head + header + 8 {
        return;
    }
    for (word_at, varying) in (0..).step_by(4).zip(octets(tunnel.varying).chunks(4)) {
        let at = head + source_at + word_at;
        let mask = u32::from_le_bytes([varying[0], varying[1], varying[2], varying[3]]);
        let seen = long(frame, at).swap_bytes();
        spread.learn(mask, seen);
    }
    if outer6 {
        spread.learn(0xf_ffff, long(frame, head));
    }
    if backend.mode.is_gue() {
        let seen = word(frame, head + header).swap_bytes();
        spread.learn(0xff3f, u32::from(seen));
    }
}
