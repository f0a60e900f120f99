//! The endpoint table: a hash table without collisions, since we choose for each group
//! of keys a pilot that puts every key of the group into a free slot. The data plane
//! looks first where a key would be if its group's pilot were 0, as most are, and where
//! its pilot says if that is another: a record that was moved must not be found at its
//! old place.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use lb_common::{
    abi::{Address, Endpoint},
    hash, limits,
};

use super::{known::Known, memory::Shared};

const GROUP_BITS: u32 = limits::ENDPOINT_GROUPS.ilog2();
const SLOT_BITS: u32 = limits::ENDPOINT_SLOTS.ilog2();

/// How long a packet may be on its way through the data plane: a record that one may
/// have found is left as it is for that long.
pub const GRACE: Duration = Duration::from_millis(50);

/// No pilot puts all keys of a group into free slots.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the endpoint table is too full: no place for another service, VIP or NAT server")]
pub struct Full;

/// The endpoint table and what it holds.
pub struct Endpoints {
    slots: Shared<Endpoint>,
    pilots: Shared<u64>,
    known: Known,
    /// Keys by group.
    groups: HashMap<u32, Vec<Key>>,
    /// Slots that hold something.
    taken: HashSet<u32>,
    /// Those of them whose endpoint was moved away, and when; the earliest first.
    left: VecDeque<(u32, Instant)>,
}

type Key = (Address, u32);

impl Endpoints {
    /// Takes over a table with whatever it holds.
    #[must_use]
    pub fn open(slots: Shared<Endpoint>, pilots: Shared<u64>, known: Known, now: Instant) -> Self {
        let mut table = Endpoints {
            slots,
            pilots,
            known,
            groups: HashMap::new(),
            taken: HashSet::new(),
            left: VecDeque::new(),
        };
        for slot in 0..table.slots.length() {
            let endpoint = table.slots.load(slot);
            if endpoint.selector == 0 {
                continue;
            }
            let key = key(&endpoint);
            table.taken.insert(slot);
            if table.slot_of(key) == slot {
                table.groups.entry(group(key)).or_default().push(key);
                table.known.add(key.0);
            } else {
                table.left.push_back((slot, now));
            }
        }
        table
    }

    /// Every endpoint in the table, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.groups
            .values()
            .flatten()
            .map(|&key| self.slots.load(self.slot_of(key)))
    }

    /// The endpoint with this address and selector.
    #[must_use]
    pub fn get(&self, address: Address, selector: u32) -> Option<Endpoint> {
        let endpoint = self.slots.load(self.slot_of((address, selector)));
        (key(&endpoint) == (address, selector)).then_some(endpoint)
    }

    /// Puts an endpoint into the table, or another record in its place: that word by
    /// word, in their order.
    ///
    /// # Errors
    ///
    /// [`Full`]; then the table is as it was.
    pub fn put(&mut self, endpoint: &Endpoint, now: Instant) -> Result<(), Full> {
        let key = key(endpoint);
        let slot = self.slot_of(key);
        if self.get(key.0, key.1).is_some() {
            self.slots.store(slot, endpoint);
            return Ok(());
        }
        self.sweep(now);
        self.known.add(key.0);
        if self.taken.insert(slot) {
            self.write(slot, endpoint);
        } else if let Err(full) = self.regroup(endpoint, now) {
            self.known.remove(key.0);
            return Err(full);
        }
        self.groups.entry(group(key)).or_default().push(key);
        Ok(())
    }

    /// Takes an endpoint out of the table. Packets for it find nothing from then on.
    pub fn remove(&mut self, address: Address, selector: u32) {
        let key = (address, selector);
        if self.get(address, selector).is_none() {
            return;
        }
        let slot = self.slot_of(key);
        self.erase(slot);
        self.taken.remove(&slot);
        self.known.remove(address);
        if let Some(keys) = self.groups.get_mut(&group(key)) {
            keys.retain(|&other| other != key);
        }
    }

    /// Moves a group, with `newcomer`, to slots that a new pilot gives: copies first,
    /// then the pilot with one store, so that every key is found at every moment.
    fn regroup(&mut self, newcomer: &Endpoint, now: Instant) -> Result<(), Full> {
        let group = group(key(newcomer));
        let mut members: Vec<Endpoint> = self
            .groups
            .get(&group)
            .into_iter()
            .flatten()
            .map(|&key| self.slots.load(self.slot_of(key)))
            .collect();
        let old: Vec<u32> = members
            .iter()
            .map(|member| self.slot_of(key(member)))
            .collect();
        members.push(*newcomer);
        let (pilot, slots) = (0..=u16::MAX)
            .find_map(|pilot| Some((pilot, self.fit(&members, pilot)?)))
            .ok_or(Full)?;
        for (member, &slot) in members.iter().zip(&slots) {
            self.write(slot, member);
            self.taken.insert(slot);
        }
        self.set_pilot(group, pilot);
        for slot in old {
            self.hide(slot);
            self.left.push_back((slot, now));
        }
        Ok(())
    }

    /// The slots of `members` under a pilot, if they are all free.
    fn fit(&self, members: &[Endpoint], pilot: u16) -> Option<Vec<u32>> {
        let mut slots = Vec::with_capacity(members.len());
        for member in members {
            let slot = hash::slot(hash_of(key(member)), pilot, SLOT_BITS);
            if self.taken.contains(&slot) || slots.contains(&slot) {
                return None;
            }
            slots.push(slot);
        }
        Some(slots)
    }

    /// Frees the slots that were left longer ago than a packet takes.
    fn sweep(&mut self, now: Instant) {
        while let Some(&(slot, since)) = self.left.front()
            && now.duration_since(since) >= GRACE
        {
            self.left.pop_front();
            self.erase(slot);
            self.taken.remove(&slot);
        }
    }

    /// Writes a record into a free slot: the word with the selector last, since a slot
    /// without one is free.
    fn write(&self, slot: u32, endpoint: &Endpoint) {
        let blank = Endpoint {
            selector: 0,
            index: 0,
            keeping: 0,
            tcp_ranges: 0,
            udp_ranges: 0,
            ..*endpoint
        };
        self.slots.store(slot, &blank);
        self.slots.store(slot, endpoint);
    }

    /// Makes a slot's record one that no key finds, and leaves what a packet that has
    /// found it reads of it.
    fn hide(&self, slot: u32) {
        let word = &self.slots.record(slot)[SELECTOR_WORD];
        let rest = word.load(Ordering::Relaxed) & !u64::from(u32::MAX);
        word.store(rest, Ordering::Release);
    }

    /// Frees a slot: the word with the selector first.
    fn erase(&self, slot: u32) {
        self.slots.record(slot)[SELECTOR_WORD].store(0, Ordering::Release);
        self.slots.store(slot, &Endpoint::FREE);
    }

    fn slot_of(&self, key: Key) -> u32 {
        hash::slot(hash_of(key), self.pilot(group(key)), SLOT_BITS)
    }

    fn pilot(&self, group: u32) -> u16 {
        (self.pilots.load(group / 4) >> (group % 4 * 16)) as u16
    }

    fn set_pilot(&self, group: u32, pilot: u16) {
        let shift = group % 4 * 16;
        let word = self.pilots.load(group / 4) & !(0xffff << shift);
        self.pilots
            .store(group / 4, &(word | u64::from(pilot) << shift));
    }
}

const SELECTOR_WORD: usize = std::mem::offset_of!(Endpoint, selector) / 8;

fn key(endpoint: &Endpoint) -> Key {
    (endpoint.address, endpoint.selector)
}

fn hash_of(key: Key) -> u64 {
    hash::endpoint(key.0, key.1)
}

fn group(key: Key) -> u32 {
    hash::group(hash_of(key), GROUP_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::{
        abi::{Family, ipv4, ipv6},
        hash::Seed,
    };

    fn table() -> Endpoints {
        Endpoints::open(
            Shared::zeroed(limits::ENDPOINT_SLOTS),
            Shared::zeroed(limits::ENDPOINT_GROUPS / 4),
            Known::open(Shared::zeroed(limits::KNOWN_BITS / 64)),
            Instant::now(),
        )
    }

    fn server(n: u32) -> Endpoint {
        let [_, a, b, c] = n.to_be_bytes();
        let (family, address) = match n % 2 {
            0 => (Family::V4, ipv4([10, a, b, c])),
            _ => {
                let mut octets = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c];
                octets[6] = c;
                (Family::V6, ipv6(octets))
            }
        };
        let seed = Seed([1, 2]);
        Endpoint::server(family, address, 80, 6, (n % 60_000) as u16, seed)
    }

    /// Puts an endpoint, after the grace if slots that were left fill the table.
    fn put(table: &mut Endpoints, endpoint: &Endpoint, now: &mut Instant) {
        if table.put(endpoint, *now).is_err() {
            *now += GRACE;
            table.put(endpoint, *now).unwrap();
        }
    }

    #[test]
    fn as_many_servers_as_there_are_backends_find_a_place() {
        let mut table = table();
        let mut now = Instant::now();
        for n in 0..limits::MAX_BACKENDS + limits::MAX_SERVICES {
            put(&mut table, &server(n), &mut now);
        }
        for n in 0..limits::MAX_BACKENDS + limits::MAX_SERVICES {
            let want = server(n);
            assert_eq!(table.get(want.address, want.selector), Some(want));
        }
    }

    #[test]
    fn a_table_is_taken_over_as_it_was() {
        let mut table = table();
        let now = Instant::now();
        for n in 0..40_000 {
            table.put(&server(n), now).unwrap();
        }
        for n in 0..10_000 {
            let gone = server(n * 4);
            table.remove(gone.address, gone.selector);
        }
        let Endpoints {
            slots,
            pilots,
            known,
            ..
        } = table;
        let before = known.bits();
        let again = Endpoints::open(slots, pilots, Known::open(known.into_memory()), now);
        assert_eq!(again.known.bits(), before);
        assert_eq!(again.iter().count(), 30_000);
        for n in 0..40_000 {
            let want = server(n);
            let there = again.get(want.address, want.selector).is_some();
            assert_eq!(there, n % 4 != 0, "{n}");
        }
    }

    #[test]
    fn slots_that_were_left_are_used_again() {
        let mut table = table();
        let mut now = Instant::now();
        for round in 0..6 {
            for n in 0..60_000 {
                put(&mut table, &server(round * 60_000 + n), &mut now);
            }
            for n in 0..60_000 {
                let gone = server(round * 60_000 + n);
                table.remove(gone.address, gone.selector);
            }
            now += GRACE;
        }
        table.sweep(now);
        assert_eq!(table.taken.len(), 0);
    }

    #[test]
    fn another_record_takes_the_place_of_the_same_key() {
        let mut table = table();
        let now = Instant::now();
        table.put(&server(1), now).unwrap();
        let mut other = server(1);
        other.detail[1] = 7;
        table.put(&other, now).unwrap();
        assert_eq!(table.iter().collect::<Vec<_>>(), [other]);
    }
}
