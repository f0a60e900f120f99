//! What the active node tells, as it changes the standby's tables.

use std::{collections::BTreeSet, ops::Range, sync::atomic::Ordering};

use lb_common::flow::{BUCKET_SLOTS, Entry, FUTURE, Tick, Timeouts};

use super::{
    Counts, Discard, Now, Tables, Which, Write,
    merge::{Merge, Outcome},
    roster::{Item, Kind, Roster, Translation},
    tables::{OwnerWords, is_claimed, of_service, service},
    wire::{Chunk, Slot},
};

/// One session's way from messages to the tables.
#[derive(Debug)]
pub(super) struct Follow {
    translation: Translation,
    /// The edition of the roster that is known, but for these parts.
    edition: u32,
    missing: BTreeSet<u16>,
    floor: u64,
    ages: Ages,
    timeouts: Timeouts,
    /// When this node was active last, until the first sync.
    stepped_down: Option<Tick>,
    /// Slots written.
    written: u64,
    /// Something was left out for want of its backend or service.
    lacks: bool,
}

/// Ticks of the sender's in terms of this node's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    /// Nanoseconds of a tick of the sender's.
    pub(super) theirs: u64,
    /// And of this node's.
    pub(super) ours: u64,
}

impl Ages {
    /// A time in the sender's ticks: rounded down, so that nothing expires early for it, and at most what an age can tell.
    fn idle(self, ticks: Tick) -> Tick {
        let ns = u128::from(ticks) * u128::from(self.theirs);
        let ours = ns / u128::from(self.ours.max(1));
        ours.min(u128::from(FUTURE - 1)) as Tick
    }
}

impl Follow {
    pub(super) fn new(
        local: &Roster,
        ages: Ages,
        timeouts: Timeouts,
        stepped_down: Option<Tick>,
    ) -> Self {
        Follow {
            translation: Translation::new(local),
            edition: 0,
            missing: BTreeSet::new(),
            floor: 0,
            ages,
            timeouts,
            stepped_down,
            written: 0,
            lacks: false,
        }
    }

    /// This node's numbers have changed. True when the tables would be others now, had all been told anew.
    pub(super) fn set_local(&mut self, local: &Roster) -> bool {
        let moved = self.translation.set_local(local);
        let differ = moved.known || (moved.found && self.lacks);
        self.lacks &= !differ;
        differ
    }

    /// The first sync is over.
    pub(super) fn merged(&mut self) {
        self.stepped_down = None;
    }

    /// Slots written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// A part of an edition of the roster.
    pub(super) fn roster(
        &mut self,
        edition: u32,
        part: u16,
        parts: u16,
        items: &[Item],
    ) -> Result<(), Discard> {
        if edition == self.edition.wrapping_add(1) && self.missing.is_empty() {
            if edition == 1 {
                self.translation.forget();
            }
            self.edition = edition;
            self.missing = (0..parts).collect();
        }
        // The sender begins an edition when it knows that the one before has arrived.
        if edition > self.edition {
            return Err(Discard::Roster);
        }
        if edition == self.edition && self.missing.remove(&part) {
            items.iter().for_each(|item| self.translation.set(*item));
        }
        Ok(())
    }

    /// Slots; all of them, or none if there is something wrong with one.
    pub(super) fn chunk(
        &mut self,
        number: u64,
        chunk: &Chunk,
        now: Now,
        tables: &Tables<'_>,
        counts: &mut Counts,
    ) -> Result<(), Discard> {
        if number < self.floor {
            return Err(Discard::Overtaken);
        }
        if chunk.edition != self.edition || !self.missing.is_empty() {
            return Err(Discard::Roster);
        }
        let length = tables.of(chunk.table).slots();
        let end = chunk.slots.last().map_or(0, |last| last.slot as usize + 1);
        let end = end.max(chunk.covers.map_or(0, |(_, end)| end as usize));
        if end > length {
            return Err(Discard::OutOfRange);
        }
        if chunk.floor > number || chunk.slots.iter().any(|slot| is_claimed(slot.word)) {
            return Err(Discard::Malformed);
        }
        self.floor = self.floor.max(chunk.floor);
        let mut next = chunk.covers.map(|(start, _)| start);
        for slot in &chunk.slots {
            // In a cover, what lies between is empty.
            let gap = next.unwrap_or(slot.slot)..slot.slot;
            self.clear(chunk.table, gap, now, tables, counts);
            self.put(chunk.table, slot, now, tables, counts);
            next = next.map(|_| slot.slot + 1);
        }
        if let (Some(next), Some((_, end))) = (next, chunk.covers) {
            self.clear(chunk.table, next..end, now, tables, counts);
        }
        Ok(())
    }

    /// These slots are empty on the active node.
    fn clear(
        &mut self,
        table: Which,
        slots: Range<u32>,
        now: Now,
        tables: &Tables<'_>,
        counts: &mut Counts,
    ) {
        let view = tables.of(table);
        for slot in slots {
            // Mostly they are here too, and a datagram can tell of a hundred thousand.
            if view.entry(slot as usize).load(Ordering::Relaxed) != 0 {
                let empty = Slot {
                    slot,
                    word: 0,
                    owner: None,
                };
                self.put(table, &empty, now, tables, counts);
            }
        }
    }

    /// In this node's numbers and on its clock. Empty if it doesn't have the backend or the service.
    fn translated(&self, slot: &Slot, now: Now) -> Option<(Entry, Option<OwnerWords>)> {
        let entry = Entry::from_bits(slot.word);
        if entry.is_empty() {
            return Some((entry, None));
        }
        let backend = self.translation.number(Kind::Backend, entry.backend())?;
        let age = now.tick.wrapping_sub(self.ages.idle(entry.age()));
        let owner = match slot.owner {
            None => None,
            Some(owner) => {
                let theirs = u16::try_from(service(&owner)).ok()?;
                let ours = self.translation.number(Kind::Service, theirs)?;
                Some(of_service(owner, u32::from(ours)))
            }
        };
        Some((entry.moved(backend, age, entry.state()), owner))
    }

    fn put(
        &mut self,
        table: Which,
        slot: &Slot,
        now: Now,
        tables: &Tables<'_>,
        counts: &mut Counts,
    ) {
        let (entry, owner) = self.translated(slot, now).unwrap_or_else(|| {
            counts.add(Discard::UnknownBackend);
            self.lacks = true;
            (Entry::EMPTY, None)
        });
        let at = slot.slot as usize;
        let (bucket, place) = (at / BUCKET_SLOTS, at % BUCKET_SLOTS);
        let slot_of = |place: usize| (bucket * BUCKET_SLOTS + place) as u32;
        let Some(stepped_down) = self.stepped_down else {
            return self.write(tables, table, slot.slot, entry.bits(), owner);
        };
        let merge = Merge {
            stepped_down,
            timeouts: self.timeouts,
            now: now.tick,
        };
        let local = tables.of(table).bucket(bucket).each_ref();
        let local = local.map(|word| Entry::from_bits(word.load(Ordering::Acquire)));
        match merge.outcome(&local, place, entry) {
            Outcome::Keep { from } if from == place => counts.add(Discard::Kept),
            Outcome::Keep { from } if table == Which::Flows => {
                counts.add(Discard::Kept);
                self.write(tables, table, slot.slot, local[from].bits(), None);
                self.write(tables, table, slot_of(from), 0, None);
            }
            // A port's slot is the port itself: the connection is where the active node has it.
            Outcome::Keep { from } | Outcome::Take { twin: Some(from) } => {
                self.write(tables, table, slot.slot, entry.bits(), owner);
                self.write(tables, table, slot_of(from), 0, None);
            }
            Outcome::Take { twin: None } => {
                self.write(tables, table, slot.slot, entry.bits(), owner);
            }
        }
    }

    /// Writes a slot that doesn't hold that already.
    fn write(
        &mut self,
        tables: &Tables<'_>,
        table: Which,
        slot: u32,
        word: u64,
        owner: Option<OwnerWords>,
    ) {
        if tables.read(table, slot as usize) != Some((word, owner)) {
            self.written += 1;
            tables.apply(&Write {
                table,
                slot,
                word,
                owner,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_converted_between_clocks() {
        let ages = |theirs, ours| Ages { theirs, ours };
        assert_eq!(ages(32, 32).idle(200), 200);
        assert_eq!(ages(64, 32).idle(100), 200);
        assert_eq!(ages(64, 32).idle(200), FUTURE - 1);
        assert_eq!(ages(32, 50).idle(3), 1);
        assert_eq!(ages(u64::MAX, 1).idle(255), FUTURE - 1);
    }
}
