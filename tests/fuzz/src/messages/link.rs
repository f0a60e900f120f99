//! What both sides of replication are fed with.

use std::sync::atomic::Ordering;

use fastrand::Rng;
use flowgate::{
    datapath::memory::Shared,
    replicate::{
        Action, ClusterKey, Counts, Item, Kind, MILLISECOND, Member, Now, Roster, Tables, Which,
        seal::BODY,
        wire::{ACK_WORDS, Ack, ChunkWriter, Slot, Terms, ToActive, ToStandby},
    },
};
use lb_common::{
    abi::{Bucket, PortBucket},
    flow::{Entry, State, Timeouts},
};

use super::{
    Wrong,
    bend::{bend, noise},
};

/// The flow table's timeouts.
pub const TIMEOUTS: Timeouts = Timeouts::new([2, 200, 2, 8]);
/// Backends of both nodes are numbered from 1, but this node's from here.
pub const OURS: u16 = 100;
const BACKENDS: u16 = 9;
const SERVICES: u16 = 4;
const BUCKETS: u32 = 16;

/// The key of both.
pub fn key() -> ClusterKey {
    ClusterKey::parse(&format!("{}ff", "01".repeat(31))).expect("a key")
}

/// The terms of both.
pub fn terms() -> Terms {
    Terms {
        flow_slots: u64::from(BUCKETS) * 8,
        pool: 3,
        flow_keys: [7; 16],
        pool_addresses: [8; 16],
        tick_ns: 1_000 * MILLISECOND,
    }
}

fn members() -> impl Iterator<Item = (Kind, u16, Member)> {
    let backends = (1..=BACKENDS).map(|number| (Kind::Backend, number));
    let services = (0..SERVICES).map(|number| (Kind::Service, number));
    let all = backends.chain(services);
    all.map(|(kind, number)| {
        (
            kind,
            number,
            Member::of(&[&[kind as u8], &number.to_be_bytes()]),
        )
    })
}

/// Everybody, with numbers from `offset` on.
pub fn roster(offset: u16) -> Roster {
    let mut roster = Roster::new();
    members().for_each(|(kind, number, member)| roster.set(kind, number + offset, member));
    roster
}

/// What tells a standby the roster from 0 on.
pub fn first_edition() -> Vec<u8> {
    let items: Vec<Item> = members()
        .map(|(kind, number, member)| Item {
            kind,
            number,
            member: Some(member),
        })
        .collect();
    ToStandby::roster(1, 0, 1, &items)
}

/// A node's tables.
pub struct Memory {
    flows: Shared<Bucket>,
    ports: Shared<PortBucket>,
}

impl Memory {
    /// Empty ones.
    pub fn new() -> Self {
        Memory {
            flows: Shared::zeroed(BUCKETS),
            ports: Shared::zeroed(2),
        }
    }

    /// As replication sees them.
    pub fn tables(&self) -> Tables<'_> {
        Tables::new(&self.flows, &self.ports)
    }

    /// All that is in them.
    pub fn content(&self) -> Vec<u64> {
        let words = self.flows.words().iter().chain(self.ports.words());
        words.map(|word| word.load(Ordering::Relaxed)).collect()
    }

    /// Changes a slot, as traffic would.
    pub fn change(&self, random: &mut Rng) {
        let word = if random.bool() {
            0
        } else {
            entry(random).bits()
        };
        let slot = random.usize(..self.flows.words().len());
        self.flows.words()[slot].store(word, Ordering::Relaxed);
        let bucket = random.u32(..2);
        let record = self.ports.record(bucket);
        let place = random.usize(..8);
        record[8 + place * 3 + 2].store(u64::from(random.u16(..SERVICES)) << 32, Ordering::Relaxed);
        record[place].store(entry(random).bits(), Ordering::Relaxed);
    }

    /// An entry of nobody whom this node knows.
    pub fn stranger(&self) -> Option<String> {
        let known = |entry: Entry| (OURS + 1..=OURS + BACKENDS).contains(&entry.backend());
        let entries = |words: &[std::sync::atomic::AtomicU64]| -> Vec<Entry> {
            let words = words.iter().map(|word| word.load(Ordering::Relaxed));
            words.map(Entry::from_bits).collect()
        };
        let mut all = entries(self.flows.words());
        for bucket in 0..2 {
            let record = self.ports.record(bucket);
            all.extend(entries(&record[..8]));
            for place in 0..8 {
                let service = record[8 + place * 3 + 2].load(Ordering::Relaxed) >> 32;
                let is_used = record[place].load(Ordering::Relaxed) != 0;
                if is_used && !(u64::from(OURS)..u64::from(OURS + SERVICES)).contains(&service) {
                    return Some(format!(
                        "port {place} of bucket {bucket} of service {service}"
                    ));
                }
            }
        }
        let mut strangers = all
            .into_iter()
            .filter(|entry| !entry.is_empty() && !known(*entry));
        strangers.next().map(|entry| format!("{entry:?}"))
    }
}

/// The time, which goes on as it likes.
#[derive(Clone, Copy)]
pub struct Clock(pub u64);

impl Clock {
    /// The moment.
    pub fn now(self) -> Now {
        Now {
            ns: self.0 * MILLISECOND,
            tick: (self.0 / 1_000) as u8,
        }
    }
}

fn entry(random: &mut Rng) -> Entry {
    let state = State::ALL[random.usize(..4)];
    let backend = match random.u8(..16) {
        0 => random.u16(..),
        _ => random.u16(1..=BACKENDS),
    };
    Entry::new(random.u64(..1 << 38), backend, random.u8(..), state)
}

/// What an active node might say.
pub fn to_standby(random: &mut Rng, number: u64) -> Vec<u8> {
    match random.u16(..2_048) {
        0 => ToStandby::bye(),
        1..300 => ToStandby::mark(random.bool(), random.u32(..), random.u32(..2)),
        300..400 => {
            let item = |random: &mut Rng| Item {
                kind: if random.bool() {
                    Kind::Backend
                } else {
                    Kind::Service
                },
                number: random.u16(..12),
                member: members().map(|(.., member)| member).nth(random.usize(..16)),
            };
            let items: Vec<Item> = (0..random.usize(..20)).map(|_| item(random)).collect();
            ToStandby::roster(random.u32(..4), random.u16(..3), random.u16(..3), &items)
        }
        _ => chunk(random, number),
    }
}

fn chunk(random: &mut Rng, number: u64) -> Vec<u8> {
    let (table, slots) = match random.bool() {
        true => (Which::Flows, BUCKETS * 8),
        false => (Which::Ports, 16),
    };
    let floor = match random.u8(..8) {
        0 => number,
        1 => random.u64(..=number),
        2 => random.u64(..),
        _ => 0,
    };
    let edition = if random.u8(..8) == 0 {
        random.u32(..3)
    } else {
        1
    };
    let start = random.u32(..slots);
    let is_cover = random.bool();
    let mut writer = ChunkWriter::new(table, edition, floor, is_cover, start);
    let (mut slot, mut left) = (start, random.u8(..20));
    while left > 0 && writer.has_room() && (slot < slots || random.u8(..32) == 0) {
        let word = if random.u8(..4) == 0 {
            0
        } else {
            entry(random).bits()
        };
        let is_owned = table == Which::Ports && word != 0;
        let service = u64::from(random.u16(..SERVICES + 1)) << 32;
        let owner = is_owned.then(|| [random.u64(..), random.u64(..), service]);
        writer.push(&Slot { slot, word, owner });
        slot += 1 + random.u32(..3);
        left -= 1;
    }
    writer.body(if is_cover { random.u32(..=slots) } else { 0 })
}

/// What a standby might say, about numbers up to `highest`.
pub fn to_active(random: &mut Rng, highest: u64) -> Vec<u8> {
    if random.u16(..2_048) == 0 {
        return ToActive::Bye.body();
    }
    let mut bits = [0; ACK_WORDS];
    bits.iter_mut()
        .for_each(|word| *word = random.u64(..) | random.u64(..));
    let highest = if random.u8(..16) == 0 {
        random.u64(..)
    } else {
        highest
    };
    let again = if random.u8(..64) == 0 {
        random.u32(..)
    } else {
        0
    };
    ToActive::Ack(Ack {
        highest,
        bits,
        again,
    })
    .body()
}

/// A body that makes sense, or was bent, or never made any.
pub fn body(random: &mut Rng, valid: impl FnOnce(&mut Rng) -> Vec<u8>) -> Vec<u8> {
    let mut body = match random.u8(..8) {
        0 => noise(random, BODY),
        1..4 => {
            let mut body = valid(random);
            bend(random, &mut body);
            body
        }
        _ => valid(random),
    };
    body.truncate(BODY);
    body
}

/// What doesn't authenticate, or was sent before.
pub fn forgery(random: &mut Rng, recorded: &[Vec<u8>]) -> Vec<u8> {
    let mut datagram = noise(random, 1_500);
    let any = recorded.get(random.usize(..recorded.len().max(1)));
    match (random.u8(..4), any) {
        (0, Some(any)) => datagram = any.clone(),
        (1, Some(any)) => {
            datagram = any.clone();
            bend(random, &mut datagram);
        }
        (2, _) if datagram.len() > 4 => {
            let kind = random.u8(..6);
            datagram[..4].copy_from_slice(&[b'F', b'R', 1, kind]);
        }
        _ => {}
    }
    datagram
}

/// What is said again: the same.
pub fn check_to_standby(body: &[u8]) -> Result<Option<ToStandby>, Wrong> {
    let Some(message) = ToStandby::read(body) else {
        return Ok(None);
    };
    let again = match &message {
        ToStandby::Bye => ToStandby::bye(),
        ToStandby::Mark {
            in_sync,
            lag_ms,
            again,
        } => ToStandby::mark(*in_sync, *lag_ms, *again),
        ToStandby::Roster {
            edition,
            part,
            parts,
            items,
        } => ToStandby::roster(*edition, *part, *parts, items),
        ToStandby::Chunk(chunk) => {
            let first = chunk.slots.first().map_or(0, |slot| slot.slot);
            let (start, end) = chunk.covers.unwrap_or((first, 0));
            let is_cover = chunk.covers.is_some();
            let (edition, floor) = (chunk.edition, chunk.floor);
            let mut writer = ChunkWriter::new(chunk.table, edition, floor, is_cover, start);
            chunk.slots.iter().for_each(|slot| writer.push(slot));
            writer.body(end)
        }
    };
    // Chunks can say the same in more than one way: a distance in more bytes than it needs.
    let is_chunk = matches!(message, ToStandby::Chunk(_));
    let is_same = ToStandby::read(&again).as_ref() == Some(&message);
    match is_same && (is_chunk || again == body) {
        true => Ok(Some(message)),
        false => Err(Wrong::new(
            body,
            format!("{message:?} comes back as another"),
        )),
    }
}

/// The label of what was counted, and how much was.
pub fn counted(before: &Counts, after: &Counts) -> (Option<&'static str>, u64) {
    let both = before.labelled().zip(after.labelled());
    let grown = both.map(|((label, before), (_, after))| (label, after - before));
    grown
        .filter(|(_, more)| *more > 0)
        .fold((None, 0), |(_, sum), (label, more)| {
            (Some(label), sum + more)
        })
}

/// Whether something has changed for those who listen.
pub fn is_event(action: &Action) -> bool {
    !matches!(action, Action::Send(_) | Action::Refused(_))
}
