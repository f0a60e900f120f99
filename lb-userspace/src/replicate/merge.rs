//! Whose entry stays when roles have just changed.
//!
//! A node that was active until a moment ago may hold flows that it could not tell anybody of any more. When the node that took over
//! tells its table for the first time, these are kept. The rule, for the first sync of a receiver that knows when it was active last:
//!
//! * Only an *established* or *assured* entry that hasn't expired is kept, and only if its last packet came in
//!   the two ticks before this node stepped down, or since: the new active node has all older ones, or knows better.
//! * If the new active node has the same flow in the same bucket, the one of the two whose last packet is later stays, in the slot
//!   that the active node has it in; of two of the same age, the active node's. So no flow is there twice.
//! * Otherwise it gives way to an *established* or *assured* flow with a later packet, and to
//!   nothing else.
//!
//! After the first sync the active node's word counts, always.

use lb_common::flow::{BUCKET_SLOTS, Entry, State, Tick, Timeouts};

/// Ticks before the step-down whose flows the peer may not know.
const RECENT: u8 = 2;

/// The rule, while it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    /// When this node was active last.
    pub(super) stepped_down: Tick,
    pub(super) timeouts: Timeouts,
    pub(super) now: Tick,
}

/// What becomes of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The active node's entry is written; the same flow's other slot in the bucket, if any, is cleared.
    Take {
        /// That other slot, in the bucket.
        twin: Option<usize>,
    },
    /// The local entry of the same flow is later: it stays, or moves here from another slot of the bucket.
    Keep {
        /// Its slot in the bucket.
        from: usize,
    },
}

impl Merge {
    fn is_kept(&self, local: Entry) -> bool {
        let since = self.now.wrapping_sub(self.stepped_down);
        !local.is_empty()
            && matches!(local.state(), State::Established | State::Assured)
            && !local.is_expired(self.now, self.timeouts)
            && local.idle(self.now) <= since.saturating_add(RECENT)
    }

    /// What becomes of slot `slot` of a bucket that holds `local`, for which the active node has `theirs`, with
    /// its age on this node's clock.
    pub(super) fn outcome(
        &self,
        local: &[Entry; BUCKET_SLOTS],
        slot: usize,
        theirs: Entry,
    ) -> Outcome {
        let is_same = |entry: &Entry| {
            !entry.is_empty() && !theirs.is_empty() && entry.bits() >> 26 == theirs.bits() >> 26
        };
        let later = |entry: Entry| entry.idle(self.now) < theirs.idle(self.now);
        let twin = local.iter().position(is_same);
        if let Some(from) = twin {
            return match self.is_kept(local[from]) && later(local[from]) {
                true => Outcome::Keep { from },
                false => Outcome::Take {
                    twin: (from != slot).then_some(from),
                },
            };
        }
        let is_strong = matches!(theirs.state(), State::Established | State::Assured);
        let gives_way = !theirs.is_empty() && is_strong && !later(local[slot]);
        match self.is_kept(local[slot]) && !gives_way {
            true => Outcome::Keep { from: slot },
            false => Outcome::Take { twin: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MERGE: Merge = Merge {
        stepped_down: 100,
        timeouts: Timeouts::new([2, 200, 2, 8]),
        now: 104,
    };

    fn entry(fingerprint: u64, backend: u16, age: Tick, state: State) -> Entry {
        Entry::new(fingerprint, backend, age, state)
    }

    fn outcome(held: &[(usize, Entry)], slot: usize, theirs: Entry) -> Outcome {
        let mut bucket = [Entry::EMPTY; BUCKET_SLOTS];
        held.iter().for_each(|(slot, entry)| bucket[*slot] = *entry);
        MERGE.outcome(&bucket, slot, theirs)
    }

    const TAKE: Outcome = Outcome::Take { twin: None };

    #[test]
    fn a_recent_established_flow_gives_way_to_a_later_one_alone() {
        let ours = entry(1, 5, 99, State::Established);
        let theirs = |age, state| outcome(&[(3, ours)], 3, entry(2, 6, age, state));
        assert_eq!(
            outcome(&[(3, ours)], 3, Entry::EMPTY),
            Outcome::Keep { from: 3 }
        );
        assert_eq!(theirs(104, State::New), Outcome::Keep { from: 3 });
        assert_eq!(theirs(104, State::Closing), Outcome::Keep { from: 3 });
        assert_eq!(theirs(98, State::Established), Outcome::Keep { from: 3 });
        assert_eq!(theirs(99, State::Established), TAKE);
        assert_eq!(theirs(104, State::Assured), TAKE);
    }

    #[test]
    fn others_are_not_kept() {
        let others = [
            entry(1, 5, 97, State::Established),
            entry(1, 5, 104, State::New),
            entry(1, 5, 104, State::Closing),
            entry(1, 5, 95, State::Assured),
            Entry::EMPTY,
        ];
        for ours in others {
            assert_eq!(outcome(&[(3, ours)], 3, Entry::EMPTY), TAKE, "{ours:?}");
        }
    }

    #[test]
    fn of_the_same_flow_the_later_stays_and_only_once() {
        let ours = entry(1, 5, 102, State::Established);
        let theirs = |age, slot| outcome(&[(3, ours)], slot, entry(1, 6, age, State::Established));
        assert_eq!(theirs(103, 3), TAKE);
        assert_eq!(theirs(102, 3), TAKE);
        assert_eq!(theirs(101, 3), Outcome::Keep { from: 3 });
        assert_eq!(theirs(103, 6), Outcome::Take { twin: Some(3) });
        assert_eq!(theirs(101, 6), Outcome::Keep { from: 3 });
    }
}
