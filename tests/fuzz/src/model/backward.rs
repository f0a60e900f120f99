//! From servers to clients: section 4.

use lb_common::verdict::Verdict;

use super::{
    Effect, Key, Model, Outcome, Seen, Stage, Way, fragments,
    frames::{self, translate},
};
use crate::site::{Backend, Mode};

impl Model {
    /// A segment that isn't for a VIP: perhaps a `nat` server's answer.
    pub(super) fn answer_of_nat(&self, seen: &Seen<'_>) -> Vec<Outcome> {
        let Seen { frame, ip, .. } = *seen;

        let mut outcomes = Vec::new();
        let (server, port) = (ip.source, ip.source_port(frame));
        let client_port = ip.destination_port(frame);
        for backend in self.servers(server, port, ip.protocol) {
            let Some(vip_port) = vip_port(self, backend, port) else {
                continue;
            };
            let key = Key {
                service: backend.service,
                client: ip.destination,
                client_port,
                vip_port,
            };
            let Some(stage) = self.stage_at(key, backend.number) else {
                continue;
            };
            outcomes.extend(self.returned(seen, backend, key, stage));
            if self.is_sure(key) {
                return outcomes;
            }
        }
        outcomes.push(Outcome::pass(Verdict::PassNotVip, frame));
        outcomes
    }

    /// The backends that a server is, in the order in which they are tried.
    pub(super) fn servers(
        &self,
        server: std::net::IpAddr,
        port: u16,
        protocol: u8,
    ) -> Vec<&Backend> {
        let at = |port: u16| -> Vec<&Backend> {
            self.site
                .backends
                .iter()
                .flatten()
                .filter(|backend| {
                    backend.mode == Mode::Nat
                        && backend.address == server
                        && backend.port == port
                        && self.site.services[backend.service].protocol == protocol
                })
                .collect()
        };
        let exact = at(port);
        if exact.is_empty() || port == 0 {
            at(0)
        } else {
            exact
        }
    }

    /// How far a flow has come if it is, or may be, at this backend.
    pub(super) fn stage_at(&self, key: Key, number: u16) -> Option<Stage> {
        let maybe = self.flows.get(&key)?;
        let there = maybe.iter().find(|(backend, _)| *backend == number);
        there.map(|&(_, stage)| stage)
    }

    /// Whether a flow's backend is known.
    pub(super) fn is_sure(&self, key: Key) -> bool {
        self.flows.get(&key).is_some_and(|maybe| {
            let first = maybe[0].0;
            maybe.iter().all(|&(backend, _)| backend == first)
        })
    }

    /// A segment to an address of the pool.
    pub(super) fn answer_of_full_nat(&self, seen: &Seen<'_>) -> Vec<Outcome> {
        let Seen { frame, ip, .. } = *seen;

        let place = (ip.destination, ip.destination_port(frame));
        let owner = self.ports.get(&place).copied();
        let candidates: Vec<Key> = match owner {
            Some(key) => vec![key],
            None => self.portless.iter().copied().collect(),
        };
        let mut outcomes = Vec::new();
        for key in candidates {
            for &(number, stage) in self.flows.get(&key).map_or(&[][..], Vec::as_slice) {
                let Some(backend) = self.site.backend(number) else {
                    continue;
                };
                let port = match backend.port {
                    0 => key.vip_port,
                    port => port,
                };
                let protocol = self.site.services[backend.service].protocol;
                if (backend.address, port, protocol)
                    == (ip.source, ip.source_port(frame), ip.protocol)
                {
                    let mut way = self.returned(seen, backend, key, stage);
                    for outcome in &mut way {
                        outcome.effects.push(Effect::Port(key, place));
                    }
                    outcomes.extend(way);
                }
            }
        }
        if owner.is_none_or(|key| outcomes.is_empty() || !self.is_sure(key)) {
            outcomes.push(Outcome::drop(Verdict::DropClosedPort));
        }
        outcomes
    }

    /// A segment of a flow's server.
    fn returned(&self, seen: &Seen<'_>, backend: &Backend, key: Key, stage: Stage) -> Vec<Outcome> {
        let Seen { frame, ip, .. } = *seen;

        let mut way = self.to_client(seen, backend, key, Verdict::ReturnNat);
        let after = stage.after_server(ip.is_tcp(), ip.flags(frame));
        for outcome in &mut way {
            outcome
                .effects
                .push(Effect::Entry(key, backend.number, after));
        }
        way
    }

    /// A segment, or a later fragment, on its way to a client.
    pub(super) fn to_client(
        &self,
        seen: &Seen<'_>,
        backend: &Backend,
        key: Key,
        verdict: Verdict,
    ) -> Vec<Outcome> {
        let Seen {
            frame, link, ip, ..
        } = *seen;

        let vip = self.site.services[key.service].vip;
        let source = Some((vip, Some(key.vip_port)));
        let destination =
            (backend.mode == Mode::FullNat).then_some((key.client, Some(key.client_port)));
        let has_upper = !ip.is_later();
        let mut body = frame[ip.at..].to_vec();
        let mut outcome = match self.site.route(key.client) {
            None => {
                let zeros = translate(&mut body, ip, source, destination, 0, has_upper);
                let mut passed = frame[..ip.at].to_vec();
                passed.extend(&body);
                frames::sent(Verdict::ReturnKernel, Way::Pass, passed, &zeros)
            }
            Some(_) if ip.ttl <= 1 => return vec![Outcome::drop(Verdict::DropTtl)],
            Some(hop) if ip.length > usize::from(hop.mtu) => {
                return self.too_big(seen, usize::from(hop.mtu));
            }
            Some(hop) => {
                let zeros = translate(&mut body, ip, source, destination, 1, has_upper);
                let sent = frames::to_hop(link, hop, link.ether_type, &body);
                frames::sent(verdict, frames::way(hop), sent, &zeros)
            }
        };
        let first = fragments::remember(ip, backend.number, key, true);
        outcome.effects.extend(first);
        vec![outcome]
    }
}

/// The VIP's port of a flow whose server answers from `port`. `None` when there is none:
/// a backend that keeps ports has those of its service.
pub(super) fn vip_port(model: &Model, backend: &Backend, port: u16) -> Option<u16> {
    let ports = &model.site.services[backend.service].ports;
    match backend.port {
        0 => Some(port),
        _ => Some(*ports.start()),
    }
}
