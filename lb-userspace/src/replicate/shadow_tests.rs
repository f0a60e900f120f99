use std::time::Instant;

use lb_common::abi::{Bucket, PortBucket};

use super::*;
use crate::{
    datapath::memory::Shared,
    replicate::{Tables, Which},
};

const TIMEOUTS: Timeouts = Timeouts::new([2, 200, 2, 8]);

fn scan(
    shadow: &mut Shadow,
    flows: &Shared<Bucket>,
    now: Tick,
    mut room: Room,
) -> (Vec<u32>, Scan, bool) {
    let ports = Shared::<PortBucket>::zeroed(0);
    let (mut found, view) = (Vec::new(), Tables::new(flows, &ports).of(Which::Flows));
    let (scan, passed_over) = shadow.scan(view, now, TIMEOUTS, &mut room, &mut found);
    (
        found.iter().map(|found| found.slot).collect(),
        scan,
        passed_over,
    )
}

const AMPLE: Room = Room {
    slots: usize::MAX,
    changes: usize::MAX,
    reserve: 0,
    ages: true,
};

fn known(slots: usize) -> Shadow {
    let mut shadow = Shadow::new(slots);
    shadow.covered(0, slots);
    shadow.uncovered(0, slots);
    shadow
}

fn put(flows: &Shared<Bucket>, slot: usize, age: Tick, state: State) {
    let entry = Entry::new(slot as u64, 1, age, state).bits();
    flows.words()[slot].store(entry, Ordering::Relaxed);
}

#[test]
fn a_change_is_found_once_and_again_when_lost() {
    let flows = Shared::<Bucket>::zeroed(4);
    let mut shadow = known(32);
    put(&flows, 9, 0, State::Established);
    let ample = |shadow: &mut Shadow| scan(shadow, &flows, 0, AMPLE);
    assert_eq!(ample(&mut shadow), (vec![9], Scan::Passed, false));
    assert_eq!(ample(&mut shadow), (vec![], Scan::Passed, false));
    // While it is on its way, a newer change waits.
    flows.words()[9].store(0, Ordering::Relaxed);
    assert_eq!(ample(&mut shadow), (vec![], Scan::Passed, true));
    shadow.arrived(9);
    assert_eq!(ample(&mut shadow), (vec![9], Scan::Passed, false));
    shadow.lost(9);
    assert_eq!(ample(&mut shadow), (vec![9], Scan::Passed, false));
}

#[test]
fn room_is_kept_to() {
    let flows = Shared::<Bucket>::zeroed(4);
    let mut shadow = known(32);
    for slot in 0..32 {
        put(&flows, slot, 0, State::Established);
    }
    put(&flows, 1, 0, State::New);
    let room = |slots, changes, reserve| Room {
        slots,
        changes,
        reserve,
        ages: false,
    };
    let mut go = |room| scan(&mut shadow, &flows, 0, room).0.len();
    assert_eq!(go(room(8, 100, 100)), 7);
    assert_eq!(go(room(24, 5, 0)), 5);
    assert_eq!(go(room(24, 100, 0)), 19);
    // The end was reached, and what could wait is found now.
    assert_eq!(go(room(32, 100, 99)), 1);
}

#[test]
fn a_claimed_slot_is_left_alone() {
    let flows = Shared::<Bucket>::zeroed(1);
    let mut shadow = known(8);
    flows.words()[3].store(Entry::claimed(255).bits(), Ordering::Relaxed);
    assert_eq!(scan(&mut shadow, &flows, 0, AMPLE).0, [0u32; 0]);
    shadow.lost(3);
    assert_eq!(scan(&mut shadow, &flows, 0, AMPLE).0, [0u32; 0]);
}

#[test]
fn an_age_is_told_once_in_a_quarter_of_its_timeout() {
    let flows = Shared::<Bucket>::zeroed(1);
    let mut shadow = known(8);
    let mut told = Vec::new();
    for now in 0..=150u8 {
        put(&flows, 0, now, State::Established);
        // With no room to spare, as late as can be.
        let room = Room {
            slots: 8,
            changes: 1,
            reserve: 1,
            ages: true,
        };
        if !scan(&mut shadow, &flows, now, room).0.is_empty() {
            told.push(now);
            shadow.arrived(0);
        }
    }
    assert_eq!(told, [0, 50, 100, 150]);
    // Not where ages aren't looked at.
    put(&flows, 0, 220, State::Established);
    let past = Room {
        ages: false,
        ..AMPLE
    };
    assert_eq!(scan(&mut shadow, &flows, 220, past).0, [0u32; 0]);
    // And with room earlier, so that not all are due at once.
    put(&flows, 0, 176, State::Established);
    assert_eq!(scan(&mut shadow, &flows, 176, AMPLE).0, vec![0]);
}

#[test]
fn free_parts_end_at_what_is_on_its_way() {
    let mut shadow = Shadow::new(512);
    shadow.covered(100, 300);
    assert_eq!(shadow.free_until(0, 512), 100);
    assert_eq!(shadow.free_until(0, 64), 64);
    assert_eq!(shadow.free_until(299, 512), 299);
    assert_eq!(shadow.free_until(300, 512), 512);
    shadow.uncovered(100, 129);
    assert_eq!(shadow.free_until(0, 512), 129);
}

/// Milliseconds of a comparison; run by hand: `cargo test --release -p lb-userspace --lib
/// replicate -- --ignored --nocapture compare`.
#[test]
#[ignore = "a measurement"]
fn how_long_it_takes_to_compare() {
    for bits in [21, 24, 26] {
        let flows = Shared::<Bucket>::zeroed(1 << (bits - 3));
        let mut shadow = known(1 << bits);
        let half = (0..1usize << bits).step_by(2);
        half.clone()
            .for_each(|slot| put(&flows, slot, 0, State::Established));
        scan(&mut shadow, &flows, 0, AMPLE);
        (0..1 << bits).for_each(|slot| shadow.arrived(slot));
        let mut time = |what: &str, ages| {
            let room = Room { ages, ..AMPLE };
            let mut times: Vec<_> = (0..7)
                .map(|_| {
                    let start = Instant::now();
                    assert_eq!(scan(&mut shadow, &flows, 3, room).0, [0u32; 0]);
                    start.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!(
                "2^{bits} slots, {what}: {:.1} ms ({:.1}–{:.1})",
                times[3], times[0], times[6]
            );
        };
        time("nothing differs", false);
        half.for_each(|slot| put(&flows, slot, 2, State::Established));
        time("ages differ in half the slots", false);
        time("the same, ages looked at", true);
    }
}
