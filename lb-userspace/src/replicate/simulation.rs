//! Two nodes and a bad network between them, in simulated milliseconds.

use std::sync::atomic::Ordering;

use lb_common::{
    abi::{Bucket, PortBucket},
    flow::{Entry, Tick, Timeouts},
};

use super::{
    Action, ClusterKey, Kind, Limits, MILLISECOND, Member, Now, Receiver, Roster, Sender, Tables,
    Which, seal::MOST, tables::of_service, wire::Terms,
};
use crate::datapath::memory::Shared;

pub(super) const TIMEOUTS: Timeouts = Timeouts::new([2, 200, 2, 8]);
/// Milliseconds of a tick.
const TICK: u64 = 1_000;
/// How far the standby's coarse clock is from the active node's.
pub(super) const SKEW: Tick = 77;

pub(super) fn key(last: u8) -> ClusterKey {
    ClusterKey::parse(&format!("{}{last:02x}", "01".repeat(31))).expect("a key")
}

pub(super) fn terms(flow_slots: u64) -> Terms {
    Terms {
        flow_slots,
        pool: 3,
        flow_keys: [7; 16],
        pool_addresses: [8; 16],
        tick_ns: TICK * MILLISECOND,
    }
}

/// Backends and services with these offsets to their numbers: two nodes number differently.
pub(super) fn roster(offset: u16, backends: u16) -> Roster {
    let mut roster = Roster::new();
    for member in 1..=backends {
        let name = Member::of(&[b"backend", &member.to_be_bytes()]);
        roster.set(Kind::Backend, member + offset, name);
    }
    for member in 0..4u16 {
        let name = Member::of(&[b"service", &member.to_be_bytes()]);
        roster.set(Kind::Service, member + offset, name);
    }
    roster
}

/// What the network does to datagrams, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) lost: u32,
    pub(super) doubled: u32,
    pub(super) corrupted: u32,
    /// Whether something that was sent long before comes again.
    pub(super) replayed: u32,
    /// Most milliseconds on the way; the least is 0.
    pub(super) delay: u64,
}

pub(super) struct Node {
    pub(super) flows: Shared<Bucket>,
    pub(super) ports: Shared<PortBucket>,
}

impl Node {
    pub(super) fn new(flow_buckets: u32, port_buckets: u32) -> Self {
        Node {
            flows: Shared::zeroed(flow_buckets),
            ports: Shared::zeroed(port_buckets),
        }
    }

    pub(super) fn tables(&self) -> Tables<'_> {
        Tables::new(&self.flows, &self.ports)
    }

    pub(super) fn word(&self, slot: usize) -> u64 {
        self.flows.words()[slot].load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, slot: usize, word: u64) {
        self.flows.words()[slot].store(word, Ordering::Relaxed);
    }
}

/// Two nodes.
pub(super) struct World {
    pub(super) active: Node,
    pub(super) standby: Node,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) faults: Faults,
    pub(super) ms: u64,
    /// To whom (the standby?), when, what.
    way: Vec<(bool, u64, Vec<u8>)>,
    sent: Vec<(bool, Vec<u8>)>,
    random: u64,
    pub(super) events: Vec<(bool, Action)>,
    /// Milliseconds and bytes of what the active node sent.
    pub(super) bytes: Vec<(u64, usize)>,
}

impl World {
    pub(super) fn new(flow_buckets: u32, port_buckets: u32, limits: Limits, seed: u64) -> Self {
        let terms = terms(u64::from(flow_buckets) * 8);
        World {
            active: Node::new(flow_buckets, port_buckets),
            standby: Node::new(flow_buckets, port_buckets),
            sender: Sender::new(key(2), terms, TIMEOUTS, limits, roster(0, 9), &[1; 32]),
            receiver: Receiver::new(
                key(2),
                terms,
                TIMEOUTS,
                limits,
                roster(100, 9),
                None,
                &[2; 32],
            ),
            faults: Faults::default(),
            ms: 5_000,
            way: Vec::new(),
            sent: Vec::new(),
            random: seed | 1,
            events: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// An xorshift generator: the same run for the same seed.
    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below.max(1)
    }

    fn happens(&mut self, percent: u32) -> bool {
        self.random(100) < u64::from(percent)
    }

    pub(super) fn now(&self, standby: bool) -> Now {
        let tick = (self.ms / TICK) as Tick;
        Now {
            ns: self.ms * MILLISECOND,
            tick: if standby {
                tick.wrapping_add(SKEW)
            } else {
                tick
            },
        }
    }

    /// One millisecond.
    pub(super) fn step(&mut self) {
        self.ms += 1;
        let mut out = Vec::new();
        self.sender
            .poll(self.now(false), &self.active.tables(), &mut out);
        self.take(false, out);
        let mut out = Vec::new();
        self.receiver.poll(self.now(true), &mut out);
        self.take(true, out);
        let now = self.ms;
        let (due, later) = std::mem::take(&mut self.way)
            .into_iter()
            .partition(|(_, at, _)| *at <= now);
        self.way = later;
        let due: Vec<_> = due;
        for (to_standby, _, datagram) in due {
            self.deliver(to_standby, &datagram);
        }
    }

    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    pub(super) fn deliver(&mut self, to_standby: bool, datagram: &[u8]) {
        let mut out = Vec::new();
        let now = self.now(to_standby);
        match to_standby {
            true => self
                .receiver
                .datagram(datagram, now, &self.standby.tables(), &mut out),
            false => self
                .sender
                .datagram(datagram, now, &self.active.tables(), &mut out),
        }
        self.take(to_standby, out);
    }

    fn take(&mut self, by_standby: bool, out: Vec<Action>) {
        for action in out {
            let Action::Send(datagram) = action else {
                self.events.push((by_standby, action));
                continue;
            };
            assert!(datagram.len() <= MOST, "{} bytes", datagram.len());
            if !by_standby {
                self.bytes.push((self.ms, datagram.len()));
            }
            self.send(!by_standby, datagram);
        }
    }

    fn send(&mut self, to_standby: bool, datagram: Vec<u8>) {
        let faults = self.faults;
        self.sent.push((to_standby, datagram.clone()));
        if self.happens(faults.replayed) {
            let at = self.random(self.sent.len() as u64) as usize;
            let (to, old) = self.sent[at].clone();
            self.way.push((to, self.ms, old));
        }
        if self.happens(faults.corrupted) {
            let mut forged = datagram.clone();
            let bit = self.random(forged.len() as u64 * 8) as usize;
            forged[bit / 8] ^= 1 << (bit % 8);
            self.way.push((to_standby, self.ms, forged));
        }
        let copies = 1 + u32::from(self.happens(faults.doubled));
        for _ in 0..copies {
            if !self.happens(faults.lost) {
                let at = self.ms + self.random(faults.delay + 1);
                self.way.push((to_standby, at, datagram.clone()));
            }
        }
    }

    /// Everything that was sent so far, and to whom.
    pub(super) fn recorded(&self) -> Vec<(bool, Vec<u8>)> {
        self.sent.clone()
    }

    /// Another sender takes the first one's place, as when its daemon starts anew.
    pub(super) fn restart_sender(&mut self, limits: Limits, seed: u8) {
        let terms = terms(self.active.tables().of(Which::Flows).slots() as u64);
        self.sender = Sender::new(key(2), terms, TIMEOUTS, limits, roster(0, 9), &[seed; 32]);
    }

    /// The first slot in which the tables differ but for numbers and ages within bounds.
    pub(super) fn difference(&self) -> Option<String> {
        let ticks = (self.now(false).tick, self.now(true).tick);
        difference(&self.active.tables(), &self.standby.tables(), ticks, 100)
    }
}

/// The first slot in which the tables differ but for numbers, which are higher by `offset` on the standby, and
/// ages within bounds.
pub(super) fn difference(
    ours: &Tables<'_>,
    theirs: &Tables<'_>,
    ticks: (Tick, Tick),
    offset: u16,
) -> Option<String> {
    for table in Which::ALL {
        for slot in 0..ours.of(table).slots() {
            let (word, owner) = ours.read(table, slot).expect("nobody changes it");
            let Some((copy, copied)) = theirs.read(table, slot) else {
                return Some(format!("{table:?} {slot} is being written"));
            };
            let (entry, found) = (Entry::from_bits(word), Entry::from_bits(copy));
            let expected = match word {
                0 => Entry::EMPTY,
                _ => entry.moved(
                    entry.backend().wrapping_add(offset),
                    found.age(),
                    entry.state(),
                ),
            };
            let number = |owner| super::tables::service(&owner).wrapping_add(u32::from(offset));
            let owner = owner.map(|owner| of_service(owner, u32::from(number(owner) as u16)));
            // Behind by what needn't be told; ahead by one where the tick changed on the way.
            let quarter = (TIMEOUTS.of(entry.state()) / 4).max(1);
            let idle = entry.idle(ticks.0);
            let behind = found.idle(ticks.1).wrapping_sub(idle);
            if found != expected
                || copied != owner
                || (word != 0 && behind.wrapping_add(1) > quarter + 1)
            {
                return Some(format!(
                    "{table:?} {slot}: {entry:?} {owner:?}, {found:?} {copied:?}"
                ));
            }
        }
    }
    None
}
