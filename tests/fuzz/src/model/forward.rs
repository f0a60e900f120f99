//! From clients to backends: section 3.

use std::net::IpAddr;

use lb_common::verdict::Verdict;

use super::{
    Effect, Got, Key, Model, Outcome, Seen,
    flows::Choice,
    fragments,
    frames::{self, translate},
    parse::{Ip, link},
};
use crate::{
    bytes::{address4, address6, word},
    site::{Backend, Mode},
};

impl Model {
    /// A segment for a service.
    pub(super) fn forward(&self, seen: &Seen<'_>, service: usize) -> Vec<Outcome> {
        let Seen { frame, ip, .. } = *seen;

        let key = Key {
            service,
            client: ip.source,
            client_port: ip.source_port(frame),
            vip_port: ip.destination_port(frame),
        };
        let mut outcomes = Vec::new();
        for choice in self.choices(key, ip.is_tcp(), ip.flags(frame)) {
            let backend = choice.backend.and_then(|number| self.site.backend(number));
            let Some(backend) = backend else {
                outcomes.push(Outcome::drop(choice.verdict));
                continue;
            };
            let mut way = self.to_backend(seen, backend, key, choice.verdict);
            for outcome in &mut way {
                outcome.effects.extend(remembered(key, &choice));
            }
            outcomes.extend(way);
        }
        outcomes
    }

    /// A segment, or a later fragment, on its way to a backend.
    pub(super) fn to_backend(
        &self,
        seen: &Seen<'_>,
        backend: &Backend,
        key: Key,
        verdict: Verdict,
    ) -> Vec<Outcome> {
        let Seen {
            frame, link, ip, ..
        } = *seen;

        let mode = backend.mode;
        if mode != Mode::Dsr && ip.ttl <= 1 {
            return vec![Outcome::drop(Verdict::DropTtl)];
        }
        let mtu = usize::from(backend.hop.mtu);
        if ip.length + mode.overhead() > mtu {
            return self.too_big(seen, mtu - mode.overhead());
        }
        let mut outcome = match mode {
            Mode::Dsr => {
                let body = &frame[ip.at..];
                let sent = frames::to_hop(link, &backend.hop, link.ether_type, body);
                frames::sent(verdict, frames::way(&backend.hop), sent, &[])
            }
            Mode::Nat => translated(seen, backend, None, verdict),
            Mode::FullNat => match self.pool_port(key, seen.got) {
                Some(port) => {
                    let mut outcome = translated(seen, backend, Some(port), verdict);
                    outcome.effects.push(Effect::Port(key, port));
                    outcome
                }
                // It had to be one of the pool's.
                None => {
                    let some = (self.some_pool_address(ip), self.site.pool.first_port);
                    translated(seen, backend, Some(some), verdict)
                }
            },
            _ => self.encapsulated(seen, backend, key, verdict),
        };
        let first = fragments::remember(ip, backend.number, key, false);
        outcome.effects.extend(first);
        vec![outcome]
    }

    /// The source that a flow has in the pool: the one that is known, or what the frame
    /// that came out says if that may be.
    fn pool_port(&self, key: Key, got: &Got<'_>) -> Option<(IpAddr, u16)> {
        if let Some(port) = self.port_of.get(&key).copied() {
            return Some(port);
        }
        let head = link(got.frame)?.head;
        let got = got.frame.get(head..)?;
        let port = if key.client.is_ipv4() {
            let upper = usize::from(got.first()? & 15) * 4;
            got.get(20.max(upper)..)?.get(..2)?;
            (address4(got, 12), word(got, upper))
        } else {
            if got.len() < 48 {
                return None;
            }
            let upper = upper_of(got)?;
            (address6(got, 8), word(got, upper))
        };
        let pool = &self.site.pool;
        let last = u32::from(pool.first_port) + u32::from(pool.buckets) * 8;
        let fits = pool.addresses.contains(&port.0)
            && port.1 >= pool.first_port
            && u32::from(port.1) < last;
        fits.then_some(port)
    }

    fn some_pool_address(&self, ip: &Ip) -> IpAddr {
        let mut pool = self.site.pool.addresses.iter().copied();
        pool.find(|address| address.is_ipv6() == ip.is_v6())
            .unwrap_or(ip.source)
    }
}

/// Where the ports of a sent IPv6 packet are.
fn upper_of(packet: &[u8]) -> Option<usize> {
    let end = packet.len();
    let walk = super::parse::extensions(packet, 0, end).ok()?;
    (walk.upper + 4 <= end).then_some(walk.upper)
}

/// `nat`, and `full-nat` where there is a source of our own.
pub(super) fn translated(
    seen: &Seen<'_>,
    backend: &Backend,
    own: Option<(IpAddr, u16)>,
    verdict: Verdict,
) -> Outcome {
    let Seen {
        frame, link, ip, ..
    } = *seen;

    let mut body = frame[ip.at..].to_vec();
    let source = own.map(|(address, port)| (address, Some(port)));
    let destination = (backend.address, (backend.port != 0).then_some(backend.port));
    let zeros = translate(&mut body, ip, source, Some(destination), 1, !ip.is_later());
    let sent = frames::to_hop(link, &backend.hop, link.ether_type, &body);
    frames::sent(verdict, frames::way(&backend.hop), sent, &zeros)
}

/// What a choice leaves behind.
fn remembered(key: Key, choice: &Choice) -> Vec<Effect> {
    let mut effects = Vec::new();
    if let Some((backend, stage)) = choice.entry {
        effects.push(Effect::Entry(key, backend, stage));
    }
    if let (true, Some(backend)) = (choice.by_hash, choice.backend) {
        effects.push(Effect::Hash(key, backend));
    }
    if let Some(next) = choice.next_turn {
        effects.push(Effect::Turn(key.service, next));
    }
    effects
}
