//! What the peer has been told of a table, and what differs from it.

use std::sync::atomic::Ordering;

use lb_common::flow::{BUCKET_SLOTS, Entry, FUTURE, State, Tick, Timeouts};

use super::{
    View,
    digest::{AGE, BUCKETS, Digests, SLOTS},
    tables::is_claimed,
};

/// In a copy: the peer may have anything there. No slot holds this: it has no backend, and isn't [`Entry::claimed`].
const UNKNOWN: u64 = 1;

/// A copy of a table's entries as they were last told, to find by comparison what has changed. 8 bytes and a
/// bit a slot; memory of slots that were never in use is never touched.
#[derive(Debug)]
pub struct Shadow {
    copy: Vec<u64>,
    /// Of parts of the table that were last found as in the copy.
    digests: Digests,
    /// A bit for each slot: it was told, and that is not acknowledged yet.
    busy: Vec<u64>,
    /// Slots that have been told at all are those below.
    known: usize,
    /// The bucket at which comparing goes on.
    cursor: usize,
}

/// How soon a change has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// As soon as it is found.
    Now,
    /// When there is room to spare: flows of which a single packet was seen, so that a flood of them doesn't
    /// keep back established ones; and ages before they have to be told.
    Spare,
}

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The slot.
    pub slot: u32,
    /// What it holds.
    pub word: u64,
}

/// How much a scan may do.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Slots to compare, rounded up to buckets.
    pub slots: usize,
    /// Changes to find.
    pub changes: usize,
    /// So many changes must stay possible after one that can wait.
    pub reserve: usize,
    /// Whether to look at ages too. Most of the time there are only those that differ, and they matter
    /// in seconds: it is faster to look past them mostly.
    pub ages: bool,
}

/// How a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// There was no more room: the next one goes on.
    Paused,
    /// The end of the table: the next one begins anew.
    Passed,
}

impl Shadow {
    /// Of a table with so many slots, of which the peer knows nothing.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Shadow {
            copy: vec![0; slots],
            digests: Digests::new(slots),
            busy: vec![0; slots.div_ceil(64)],
            known: 0,
            cursor: 0,
        }
    }

    /// Slots of the table.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.copy.len()
    }

    /// Compares on from where the last scan ended, among the slots that have been covered. What is found counts as told, and
    /// the caller tells it. `room.slots` goes down by what was compared. The flag in the result says that a change was
    /// passed over because an earlier one of its slot isn't acknowledged yet.
    pub fn scan(
        &mut self,
        table: View<'_>,
        now: Tick,
        timeouts: Timeouts,
        room: &mut Room,
        found: &mut Vec<Found>,
    ) -> (Scan, bool) {
        let end = self.known / BUCKET_SLOTS;
        let looked_at = if room.ages { u64::MAX } else { !AGE };
        let mut passed_over = false;
        // Buckets just before this one that are as in the copy, but for ages.
        let mut same = 0;
        while self.cursor < end {
            if room.slots == 0 {
                return (Scan::Paused, passed_over);
            }
            let is_first = self.cursor.is_multiple_of(BUCKETS);
            if is_first
                && !room.ages
                && self.cursor + BUCKETS <= end
                && self.digests.holds(table, self.cursor)
            {
                self.cursor += BUCKETS;
                room.slots = room.slots.saturating_sub(SLOTS);
                continue;
            }
            let live = table.bucket(self.cursor);
            let copy = &self.copy[self.cursor * BUCKET_SLOTS..][..BUCKET_SLOTS];
            let mut differs = 0;
            for slot in 0..BUCKET_SLOTS {
                differs |= live[slot].load(Ordering::Relaxed) ^ copy[slot];
            }
            if differs & looked_at != 0 {
                for (slot, word) in live.iter().enumerate() {
                    let slot = self.cursor * BUCKET_SLOTS + slot;
                    let word = word.load(Ordering::Relaxed);
                    let Some(urgency) = judge(self.copy[slot], word, now, timeouts) else {
                        continue;
                    };
                    if self.is_busy(slot) {
                        passed_over = true;
                        continue;
                    }
                    match urgency {
                        Urgency::Now if found.len() >= room.changes => {
                            return (Scan::Paused, passed_over);
                        }
                        Urgency::Spare if found.len() + room.reserve >= room.changes => continue,
                        Urgency::Now | Urgency::Spare => {}
                    }
                    self.tell(slot, word);
                    let slot = slot as u32;
                    found.push(Found { slot, word });
                }
            }
            same = if differs & !AGE == 0 { same + 1 } else { 0 };
            if same >= BUCKETS && self.cursor % BUCKETS == BUCKETS - 1 {
                self.digests.keep(&self.copy, self.cursor);
            }
            self.cursor += 1;
            room.slots = room.slots.saturating_sub(BUCKET_SLOTS);
        }
        self.cursor = 0;
        (Scan::Passed, passed_over)
    }

    /// The slot's content is on its way.
    fn tell(&mut self, slot: usize, word: u64) {
        self.put(slot, word);
        self.busy[slot / 64] |= 1 << (slot % 64);
    }

    fn is_busy(&self, slot: usize) -> bool {
        self.busy[slot / 64] >> (slot % 64) & 1 == 1
    }

    /// What was told of the slot has arrived.
    pub(super) fn arrived(&mut self, slot: usize) {
        self.busy[slot / 64] &= !(1 << (slot % 64));
    }

    /// What was told of the slot has not arrived, or maybe, or wasn't told after all.
    pub(super) fn lost(&mut self, slot: usize) {
        self.arrived(slot);
        self.put(slot, UNKNOWN);
    }

    /// The slots from `start` to before `end`, as far as none of them is on its way.
    pub(super) fn free_until(&self, start: usize, end: usize) -> usize {
        let mut at = start;
        while at < end {
            let rest = self.busy[at / 64] >> (at % 64);
            if rest != 0 {
                return end.min(at + rest.trailing_zeros() as usize);
            }
            at = (at / 64 + 1) * 64;
        }
        end
    }

    /// A slot is told within a cover; `None` for one that is being changed and has to be found again.
    pub(super) fn cover(&mut self, slot: usize, word: Option<u64>) {
        let word = word.unwrap_or(UNKNOWN);
        // Doesn't touch memory of empty parts.
        if self.copy[slot] != word {
            self.put(slot, word);
        }
    }

    fn put(&mut self, slot: usize, word: u64) {
        let before = std::mem::replace(&mut self.copy[slot], word);
        if (before ^ word) & !AGE != 0 {
            self.digests.forget(slot);
        }
    }

    /// The slots from `start` to before `end` are on their way, as a whole.
    pub(super) fn covered(&mut self, start: usize, end: usize) {
        self.mark(start, end, true);
        self.known = self.known.max(end);
    }

    /// They have arrived, or not (and are then covered again).
    pub(super) fn uncovered(&mut self, start: usize, end: usize) {
        self.mark(start, end, false);
    }

    fn mark(&mut self, start: usize, end: usize, busy: bool) {
        let mut at = start;
        while at < end {
            let next = end.min((at / 64 + 1) * 64);
            let ones = u64::MAX >> (64 - (next - at)) << (at % 64);
            match busy {
                true => self.busy[at / 64] |= ones,
                false => self.busy[at / 64] &= !ones,
            }
            at = next;
        }
    }
}

/// Whether a slot has to be told, of which the peer knows `told`.
#[inline(always)]
fn judge(told: u64, word: u64, now: Tick, timeouts: Timeouts) -> Option<Urgency> {
    if told == word || is_claimed(word) {
        return None;
    }
    let (known, entry) = (Entry::from_bits(told), Entry::from_bits(word));
    if told != UNKNOWN && told != 0 && (told ^ word) & !AGE == 0 {
        let behind = entry.age().wrapping_sub(known.age());
        let quarter = (timeouts.of(entry.state()) / 4).max(1);
        return match behind {
            FUTURE.. => None,
            _ if behind >= quarter => Some(Urgency::Now),
            _ if behind > quarter / 2 => Some(Urgency::Spare),
            _ => None,
        };
    }
    // An entry that expires before anybody could use it needs no haste either.
    let can_wait = word != 0 && (entry.state() == State::New || entry.is_expired(now, timeouts));
    match can_wait && told != UNKNOWN {
        true => Some(Urgency::Spare),
        false => Some(Urgency::Now),
    }
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
