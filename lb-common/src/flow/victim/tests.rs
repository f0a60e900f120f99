//! The table and the choice beside the rule as a person would write it down.

use std::cell::Cell;

use proptest::prelude::*;

use super::{super::FINGERPRINT_BITS, *};
use crate::arithmetic::Plain;

/// The rule as class and age: the greatest goes first, one of class 0 never.
fn by_rule(entry: Entry, now: Tick, timeouts: Timeouts) -> (u8, u8) {
    let idle = match now.wrapping_sub(entry.age()) {
        248..=255 => 0,
        ticks => ticks,
    };
    match entry.state() {
        _ if entry.is_empty() => (4, 0),
        state if idle > timeouts.of(state) => (3, idle),
        State::New => (2, idle),
        State::Closing => (1, idle),
        State::Established | State::Assured => (0, 0),
    }
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    prop::array::uniform4(1u8..248).prop_map(Timeouts::new)
}

/// A flow's entry, of an age that others share.
fn held() -> impl Strategy<Value = Entry> {
    let age = prop_oneof![any::<u8>(), Just(7), Just(9)];
    let parts = (0u64..1 << FINGERPRINT_BITS, 1u16.., age, 0usize..4);
    parts.prop_map(|(f, b, a, s)| Entry::new(f, b, a, State::ALL[s]))
}

/// One of a full bucket of the flow table, now and then a free one.
fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![1 => Just(Entry::EMPTY), 20 => held()]
}

/// The same where slots are claimed too.
fn entry_or_claim() -> impl Strategy<Value = Entry> {
    prop_oneof![2 => any::<u8>().prop_map(Entry::claimed), 5 => entry()]
}

/// What the product chooses.
fn chosen(
    bucket: &[Entry; BUCKET_SLOTS],
    now: Tick,
    timeouts: Timeouts,
    home: usize,
) -> Option<(usize, Entry)> {
    let reluctance = Reluctance::new(timeouts);
    victim::<Plain>(
        |i| bucket[i],
        |entry| reluctance.of(entry, now).into(),
        || home,
    )
}

fn is_best(
    bucket: &[Entry; BUCKET_SLOTS],
    now: Tick,
    timeouts: Timeouts,
    chosen: Option<(usize, Entry)>,
) -> Result<(), TestCaseError> {
    let order = |entry: Entry| by_rule(entry, now, timeouts);
    let best = bucket.iter().map(|&entry| order(entry)).max().unwrap();
    match chosen {
        Some((slot, entry)) => {
            prop_assert_eq!(entry, bucket[slot]);
            prop_assert_eq!(order(entry), best);
            prop_assert!(best.0 > 0);
        }
        None => prop_assert_eq!(best.0, 0),
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_victim_is_the_best_by_the_rule(
        bucket in prop::array::uniform8(entry()), now: u8, timeouts in timeouts(), home: usize,
    ) {
        is_best(&bucket, now, timeouts, chosen(&bucket, now, timeouts, home))?;
    }

    #[test]
    fn among_claimed_slots_too(
        bucket in prop::array::uniform8(entry_or_claim()), now: u8, timeouts in timeouts(), home: usize,
    ) {
        is_best(&bucket, now, timeouts, chosen(&bucket, now, timeouts, home))?;
    }
}

#[test]
fn the_table_tells_what_the_rule_does() {
    let timeouts = Timeouts::new([2, 234, 3, 247]);
    let reluctance = Reluctance::new(timeouts);
    let kinds = State::ALL
        .iter()
        .flat_map(|&state| (0..=255).map(move |age| (state, age)));
    for (state, age) in kinds {
        let entry = Entry::new(5, 1, age, state);
        for now in 0..=255 {
            let (class, idle) = by_rule(entry, now, timeouts);
            // Expired flows are 24 classes before established ones, so that eight of others weigh less.
            let by_rule = match class {
                0 => 0,
                3 => 24 * 256 + u16::from(idle),
                _ => u16::from(class) * 256 + u16::from(idle),
            };
            assert_eq!(
                reluctance.of(entry, now),
                0xfff8 - 8 * by_rule,
                "{state:?} of {age} at {now}"
            );
        }
    }
}

proptest! {
    /// What `full-nat` compares two buckets by.
    #[test]
    fn a_bucket_with_more_expired_flows_has_the_lesser_sum(
        one in prop::array::uniform8(held()), other in prop::array::uniform8(held()),
        now: u8, timeouts in timeouts(),
    ) {
        let reluctance = Reluctance::new(timeouts);
        let sum = |bucket: &[Entry]| -> u32 {
            bucket.iter().map(|&entry| u32::from(reluctance.of(entry, now))).sum()
        };
        let expired = |bucket: &[Entry]| {
            bucket.iter().filter(|entry| entry.is_expired(now, timeouts)).count()
        };
        if expired(&one) > expired(&other) {
            prop_assert!(sum(&one) < sum(&other));
        }
    }
}

#[test]
fn a_flow_takes_its_home_or_else_the_first_free_slot() {
    let mut bucket = [Entry::new(5, 1, 3, State::New); BUCKET_SLOTS];
    bucket[2..5].fill(Entry::EMPTY);
    for (home, slot) in [(3, 3), (64 + 4, 4), (5, 2), (6, 2)] {
        let found = chosen(&bucket, 200, Timeouts::new([4; 4]), home);
        assert_eq!(found, Some((slot, Entry::EMPTY)));
    }
}

/// Another CPU takes the slot between the look at it and the choice.
#[test]
fn a_slot_that_another_flow_has_just_taken_is_no_victim() {
    let reluctance = Reluctance::new(Timeouts::new([4; 4]));
    let (old, fresh) = (
        Entry::new(7, 1, 0, State::New),
        Entry::new(8, 1, 2, State::New),
    );
    for (looks, wanted) in [(2, Some((3, old))), (1, None)] {
        let seen = Cell::new(0);
        let load = |slot: usize| {
            seen.set(seen.get() + usize::from(slot == 3));
            if slot == 3 && seen.get() <= looks {
                old
            } else {
                fresh
            }
        };
        let found = victim::<Plain>(load, |entry| reluctance.of(entry, 2).into(), || 0);
        assert_eq!(found, wanted, "{looks} looks");
    }
}
