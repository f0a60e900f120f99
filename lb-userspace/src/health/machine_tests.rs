use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Health, Machine, ProbeError, Transition};
use crate::config::model::{CheckKind, HealthCheck};

const INTERVAL: Duration = Duration::from_millis(1000);
const TIMEOUT: Duration = Duration::from_millis(500);
/// The random number in the middle: no jitter.
const MIDDLE: u32 = u32::MAX / 2;

fn check(rise: u32, fall: u32, jitter: u8) -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Tcp,
        port: None,
        interval: INTERVAL,
        timeout: TIMEOUT,
        rise,
        fall,
        jitter,
    }
}

fn refused() -> Result<(), ProbeError> {
    Err(ProbeError::Connect("connection refused".to_owned()))
}

/// Runs one probe at the time it is due; the answer takes no time.
fn step(machine: &mut Machine, ok: bool) -> Option<Transition> {
    let due = machine.next_probe().expect("no probe is under way");
    machine.started(due);
    machine.finished(due, if ok { Ok(()) } else { refused() }, MIDDLE)
}

/// The health after each of the results, `+` a success and `-` a failure.
fn trace(initial: Health, rise: u32, fall: u32, results: &str) -> String {
    let mut machine = Machine::new(&check(rise, fall, 0), initial, Instant::now());
    let letter = |result| {
        let before = machine.health();
        let change = step(&mut machine, result == '+');
        assert_eq!(change.is_some(), before != machine.health());
        if let Some(change) = change {
            assert_eq!((change.from, change.to), (before, machine.health()));
        }
        match machine.health() {
            Health::Checking => 'c',
            Health::Healthy => 'H',
            Health::Failed => 'f',
        }
    };
    results.chars().map(letter).collect()
}

#[test]
fn rise_and_fall() {
    use Health::{Checking, Failed, Healthy};
    let table = [
        // The first result decides, whatever rise and fall are.
        (Checking, 3, 3, "+", "H"),
        (Checking, 3, 3, "-", "f"),
        // After that, rise and fall do, in a row.
        (Checking, 3, 2, "+-+--", "HHHHf"),
        (Checking, 3, 2, "-++-+++", "ffffffH"),
        (Checking, 1, 1, "+-+-", "HfHf"),
        // A restart takes up what was known.
        (Healthy, 2, 3, "--+---", "HHHHHf"),
        (Failed, 2, 3, "+-++", "fffH"),
        // A change begins the count afresh.
        (Healthy, 2, 2, "--+--++", "HfffffH"),
    ];
    for (initial, rise, fall, results, expected) in table {
        let got = trace(initial, rise, fall, results);
        assert_eq!(got, expected, "{initial} rise {rise} fall {fall} {results}");
    }
}

#[test]
fn reasons_name_the_last_result_and_the_count() {
    let mut machine = Machine::new(&check(2, 2, 0), Health::Healthy, Instant::now());
    let reasons: Vec<_> = "--++"
        .chars()
        .filter_map(|result| step(&mut machine, result == '+'))
        .map(|change| change.reason)
        .collect();
    assert_eq!(
        reasons,
        [
            "connection refused, 2 failures in a row",
            "answered 2 times in a row"
        ]
    );
    let mut machine = Machine::new(&check(2, 2, 0), Health::Checking, Instant::now());
    let reason = step(&mut machine, false).map(|change| change.reason);
    assert_eq!(reason.as_deref(), Some("connection refused"));
}

#[test]
fn first_probe_is_due_at_once_and_none_overlaps() {
    let start = Instant::now();
    let mut machine = Machine::new(&check(1, 1, 50), Health::Checking, start);
    assert_eq!(machine.next_probe(), Some(start));
    machine.started(start);
    assert_eq!(machine.next_probe(), None);
    assert_eq!(machine.deadline(), Some(start + TIMEOUT));
    // A second start neither counts nor moves the deadline.
    machine.started(start + TIMEOUT / 2);
    assert_eq!(machine.deadline(), Some(start + TIMEOUT));
    machine.finished(start + TIMEOUT / 2, Ok(()), MIDDLE);
    assert_eq!(machine.deadline(), None);
    // A result without a probe is nothing.
    assert_eq!(machine.finished(start + TIMEOUT, refused(), MIDDLE), None);
    assert_eq!(machine.health(), Health::Healthy);
}

#[test]
fn an_answer_after_the_deadline_is_a_failure() {
    let start = Instant::now();
    for (late, expected) in [
        (Duration::ZERO, Health::Healthy),
        (Duration::from_nanos(1), Health::Failed),
    ] {
        let mut machine = Machine::new(&check(1, 1, 0), Health::Checking, start);
        machine.started(start);
        let change = machine.finished(start + TIMEOUT + late, Ok(()), MIDDLE);
        assert_eq!(machine.health(), expected);
        if expected == Health::Failed {
            assert_eq!(change.expect("changes").reason, "no answer within 500ms");
        }
    }
}

#[test]
fn the_next_probe_waits_for_a_late_result() {
    let start = Instant::now();
    let mut machine = Machine::new(&check(1, 1, 0), Health::Checking, start);
    machine.started(start);
    machine.finished(start + 3 * INTERVAL, refused(), 0);
    assert_eq!(machine.next_probe(), Some(start + 3 * INTERVAL));
}

#[test]
fn jitter_reaches_both_ends() {
    for (jitter, random, expected) in [
        (0, 0, 1000),
        (0, u32::MAX, 1000),
        (20, 0, 800),
        (20, u32::MAX, 1200),
        (50, 0, 500),
        (50, u32::MAX, 1500),
    ] {
        let start = Instant::now();
        let mut machine = Machine::new(&check(1, 1, jitter), Health::Checking, start);
        machine.started(start);
        machine.finished(start, Ok(()), random);
        let expected = start + Duration::from_millis(expected);
        assert_eq!(machine.next_probe(), Some(expected), "{jitter}% {random}");
    }
}

/// The definition, written as a look at the whole history: the health changes
/// when the last `needed` results all speak against it since it last changed.
fn model(initial: Health, rise: usize, fall: usize, results: &[bool]) -> Health {
    let mut health = initial;
    let mut since = 0;
    for end in 1..=results.len() {
        let past = &results[since..end];
        let all =
            |n: usize, value| past.len() >= n && past[past.len() - n..].iter().all(|r| *r == value);
        let changed = match health {
            Health::Checking if results[end - 1] => Health::Healthy,
            Health::Checking => Health::Failed,
            Health::Healthy if all(fall, false) => Health::Failed,
            Health::Failed if all(rise, true) => Health::Healthy,
            same => same,
        };
        if changed != health {
            since = end;
            health = changed;
        }
    }
    health
}

proptest! {
    #[test]
    fn agrees_with_the_definition(
        initial in prop_oneof![Just(Health::Checking), Just(Health::Healthy), Just(Health::Failed)],
        rise in 1u32..5,
        fall in 1u32..5,
        results in prop::collection::vec(any::<bool>(), 0..60),
    ) {
        let mut machine = Machine::new(&check(rise, fall, 0), initial, Instant::now());
        for end in 1..=results.len() {
            step(&mut machine, results[end - 1]);
            let expected = model(initial, rise as usize, fall as usize, &results[..end]);
            prop_assert_eq!(machine.health(), expected, "after {:?}", &results[..end]);
        }
    }

    #[test]
    fn probes_start_an_interval_apart(
        jitter in 0u8..=50,
        probes in prop::collection::vec((any::<u32>(), 0u64..=500), 1..40),
    ) {
        let mut machine = Machine::new(&check(2, 2, jitter), Health::Checking, Instant::now());
        let mut last = None;
        for (random, took_ms) in probes {
            let due = machine.next_probe().expect("none is under way");
            if let Some((started, ended)) = last {
                prop_assert!(due >= ended, "overlap");
                let gap: Duration = due - started;
                let spread = INTERVAL * u32::from(jitter) / 100;
                // The multiplication by a share of the spread rounds.
                let rounding = Duration::from_nanos(1);
                prop_assert!(gap + rounding >= INTERVAL - spread, "too soon: {:?}", gap);
                prop_assert!(gap <= INTERVAL + spread + rounding, "too late: {:?}", gap);
            }
            machine.started(due);
            let ended = due + Duration::from_millis(took_ms);
            machine.finished(ended, Ok(()), random);
            last = Some((due, ended));
        }
    }
}
