//! Which backend a segment goes to, and what is remembered of it: section 3.
//!
//! Where a hash decides the model doesn't know the backend until it has seen it; so a
//! flow has all those that are possible.

use std::net::IpAddr;

use lb_common::verdict::Verdict;

use super::Model;
use crate::site::{Memory, Standing};

/// A flow as its client began it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The service's place in the site.
    pub service: usize,
    /// The client.
    pub client: IpAddr,
    /// Its port.
    pub client_port: u16,
    /// The VIP's port.
    pub vip_port: u16,
}

/// How far a flow has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// One packet, or SYNs.
    New,
    /// TCP whose client went on.
    Established,
    /// TCP that ends.
    Closing,
    /// UDP whose client went on.
    Assured,
}

/// A known flow: its backend and how far it has come; all that are possible.
pub type Flow = Vec<(u16, Stage)>;

/// A possible choice.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The backend; `None` when there is none.
    pub backend: Option<u16>,
    /// How it came.
    pub verdict: Verdict,
    /// What the entry says then; `None` when there is none, or it stays as it is.
    pub entry: Option<(u16, Stage)>,
    /// Whether the hash chose.
    pub by_hash: bool,
    /// The turn that was taken: the service's next one.
    pub next_turn: Option<usize>,
}

/// Whether TCP flags ask for a connection (RFC 9293 section 3.5).
#[must_use]
pub fn opens(is_tcp: bool, flags: u8) -> bool {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    is_tcp && flags & (FIN | SYN | RST | ACK) == SYN
}

/// Whether TCP flags end one.
#[must_use]
pub fn ends(is_tcp: bool, flags: u8) -> bool {
    is_tcp && flags & 0b101 != 0
}

fn nowhere(verdict: Verdict) -> Vec<Choice> {
    vec![Choice {
        backend: None,
        verdict,
        entry: None,
        by_hash: false,
        next_turn: None,
    }]
}

impl Stage {
    /// After a packet of the client's.
    #[must_use]
    pub fn after_client(self, is_tcp: bool, flags: u8) -> Stage {
        let has_syn = flags & 2 != 0;
        match self {
            _ if !is_tcp => Stage::Assured,
            _ if ends(is_tcp, flags) => Stage::Closing,
            Stage::New if !has_syn => Stage::Established,
            stage => stage,
        }
    }

    /// After a packet of the server's.
    #[must_use]
    pub fn after_server(self, is_tcp: bool, flags: u8) -> Stage {
        if ends(is_tcp, flags) {
            Stage::Closing
        } else {
            self
        }
    }

    /// Whether another flow may take its place.
    #[must_use]
    pub fn may_be_displaced(self) -> bool {
        matches!(self, Stage::New | Stage::Closing)
    }
}

impl Model {
    /// Every way in which a segment may find its backend.
    pub(super) fn choices(&self, key: Key, is_tcp: bool, flags: u8) -> Vec<Choice> {
        let opens = opens(is_tcp, flags);
        let service = &self.site.services[key.service];
        let takes_turns = match service.memory {
            Memory::All => opens,
            _ if service.wheel.is_empty() => return nowhere(Verdict::DropNoBackend),
            _ => false,
        };
        let known = self.flows.get(&key);
        let Some(flow) = known.filter(|_| service.memory != Memory::Nothing) else {
            return match service.memory {
                Memory::All => self.unknown(key, is_tcp, flags),
                memory => self.unentered(key, is_tcp, flags, memory),
            };
        };
        let mut choices = Vec::new();
        for &(number, stage) in flow {
            let after = stage.after_client(is_tcp, flags);
            if self.keeps(number, stage, opens) {
                choices.push(Choice {
                    backend: Some(number),
                    verdict: Verdict::ForwardKnown,
                    entry: Some((number, after)),
                    by_hash: false,
                    next_turn: None,
                });
            } else if opens {
                let entered = Some(Stage::New);
                choices.extend(self.scheduled(key, takes_turns, Verdict::ForwardNew, entered));
            } else {
                choices.extend(self.scheduled(key, false, Verdict::ForwardMoved, Some(after)));
            }
        }
        choices
    }

    fn keeps(&self, number: u16, stage: Stage, opens: bool) -> bool {
        match self.site.backend(number).map(|backend| backend.standing) {
            Some(Standing::Active) => !opens || stage != Stage::Closing,
            Some(Standing::Draining) => !opens,
            Some(Standing::Down) | None => false,
        }
    }

    fn unknown(&self, key: Key, is_tcp: bool, flags: u8) -> Vec<Choice> {
        let full_nat = self.site.services[key.service].full_nat;
        if ends(is_tcp, flags) {
            if full_nat {
                return nowhere(Verdict::DropClosedPort);
            }
            return self.scheduled(key, false, Verdict::ForwardUntracked, None);
        }
        if full_nat && self.no_ports {
            let mut both = nowhere(Verdict::DropNoPort);
            // Which of two reasons is named first is nobody's business.
            if self.site.services[key.service].wheel.is_empty() {
                both.extend(nowhere(Verdict::DropNoBackend));
            }
            return both;
        }
        if opens(is_tcp, flags) || !is_tcp {
            self.scheduled(key, true, Verdict::ForwardNew, Some(Stage::New))
        } else {
            self.scheduled(key, false, Verdict::ForwardAdopted, Some(Stage::New))
        }
    }

    /// What isn't known to a service that remembers changes only: section 3b.
    fn unentered(&self, key: Key, is_tcp: bool, flags: u8, memory: Memory) -> Vec<Choice> {
        let opens = opens(is_tcp, flags);
        let Memory::Changes { before } = memory else {
            let verdict = if opens {
                Verdict::ForwardNew
            } else {
                Verdict::ForwardStable
            };
            return self.scheduled(key, false, verdict, None);
        };
        let standing = self.site.backend(before).map(|backend| backend.standing);
        let gone = matches!(standing, None | Some(Standing::Down));
        let to_before = |verdict, entered: Option<Stage>| {
            vec![Choice {
                backend: Some(before),
                verdict,
                entry: entered.map(|stage| (before, stage)),
                by_hash: false,
                next_turn: None,
            }]
        };
        let (new, untracked) = (Some(Stage::New), Verdict::ForwardUntracked);
        match (ends(is_tcp, flags), opens, gone) {
            (true, _, true) => self.scheduled(key, false, untracked, None),
            (true, _, false) => to_before(untracked, None),
            (false, true, _) => self.scheduled(key, false, Verdict::ForwardNew, new),
            (false, false, true) => self.scheduled(key, false, Verdict::ForwardMoved, new),
            (false, false, false) => to_before(Verdict::ForwardAdopted, new),
        }
    }

    /// The backends that a flow may have, as far as anything tells.
    pub(super) fn backends_of(&self, key: Key) -> Vec<u16> {
        let service = &self.site.services[key.service];
        let known = self.flows.get(&key);
        let known = known.map(|flow| flow.iter().map(|&(number, _)| number).collect());
        let by_hash = || self.hash_says.get(&key).unwrap_or(&service.wheel).clone();
        match service.memory {
            Memory::All => known.unwrap_or_default(),
            Memory::Nothing => by_hash(),
            Memory::Rest => known.unwrap_or_else(by_hash),
            Memory::Changes { .. } if service.wheel.is_empty() => known.unwrap_or_default(),
            Memory::Changes { before } => known.unwrap_or_else(|| vec![before]),
        }
    }

    /// Whose turn it is for what is `new`, or whom the hash may name.
    fn scheduled(
        &self,
        key: Key,
        new: bool,
        verdict: Verdict,
        entered: Option<Stage>,
    ) -> Vec<Choice> {
        let service = &self.site.services[key.service];
        let wheel = &service.wheel;
        let choice = |backend: u16, by_hash, next_turn| Choice {
            backend: Some(backend),
            verdict,
            entry: entered.map(|stage| (backend, stage)),
            by_hash,
            next_turn,
        };
        if wheel.is_empty() {
            return nowhere(Verdict::DropNoBackend);
        }
        if new && service.takes_turns {
            let turn = self.turns.get(&key.service).copied().unwrap_or(Some(0));
            let turns = match turn {
                Some(turn) if turn < wheel.len() => turn..turn + 1,
                Some(_) => 0..1,
                None => 0..wheel.len(),
            };
            let taken = |turn: usize| choice(wheel[turn], false, Some(turn + 1));
            return turns.map(taken).collect();
        }
        let said = self.hash_says.get(&key);
        said.unwrap_or(wheel)
            .iter()
            .map(|&backend| choice(backend, true, None))
            .collect()
    }
}
