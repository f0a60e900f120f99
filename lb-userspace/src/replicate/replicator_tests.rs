//! Two replicators at work: changes, roles, rosters.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use lb_common::flow::Entry;

use super::{
    Discard, Ending, MILLISECOND, Role, Told,
    replicator::PATIENCE,
    replicator_testbed::{FLOWS, Node, OFFSET, is_same, pair, start, wait, wait_for_sync},
    simulation::terms,
    wire::Terms,
};
use crate::datapath::memory::Shared;

/// How often is tried what a machine that stands still keeps from being done in time; together less
/// than the time from one comparison to the next.
const TRIES: usize = 10;

/// Tables are compared every six seconds here, so what is there before was told at once.
#[test]
fn a_standby_that_is_to_take_over_catches_up() {
    let mut pair = pair();
    for node in &mut pair {
        node.limits.pass_every = 6_000 * MILLISECOND;
        node.limits.sync_within = 60_000 * MILLISECOND;
    }
    start(&mut pair);
    wait_for_sync(&pair);
    let [active, standby] = &pair;
    let pause = Duration::from_millis(50)..Duration::from_secs(1);
    let is_idle = || active.status().lag.is_some_and(|lag| pause.contains(&lag));
    wait("comparing pauses", is_idle);
    let caught_up = (0..TRIES).any(|try_| {
        for slot in [5, 70_000, FLOWS - TRIES] {
            active.open(slot + try_, 3);
        }
        catch_up(active)
    });
    assert!(caught_up && is_same(active, standby), "it has caught up");
    // What comes next is told at once, too.
    let is_told = (0..TRIES).any(|try_| {
        active.replicator().catch_up();
        let slot = 1_234 + try_;
        active.open(slot, 3);
        let start = Instant::now();
        while start.elapsed() < 2 * PATIENCE && !is_same_word(active, standby, slot) {
            std::thread::yield_now();
        }
        is_same_word(active, standby, slot)
    });
    assert!(is_told, "it is told at once");
}

/// Whether the standby is said to have caught up. (A busy machine may need more time than a take-over
/// gives.)
fn catch_up(node: &Node) -> bool {
    let start = Instant::now();
    node.replicator().catch_up();
    start.elapsed() < PATIENCE
}

/// Nobody is waited for where nobody follows.
#[test]
fn without_a_standby_there_is_nothing_to_wait_for() {
    let [mut active, mut standby] = pair();
    active.start(Role::Active);
    wait("an answer at once", || catch_up(&active));
    standby.start(Role::Standby);
    wait("the same of a standby", || catch_up(&standby));
}

#[test]
fn a_hundred_thousand_flows_and_then_each_change() {
    let mut pair = pair();
    for node in &mut pair {
        // Longer than a busy machine takes to answer: a second answer would be discarded.
        node.limits.greet_every = 2_000 * MILLISECOND;
    }
    for flow in 0..100_000 {
        // An odd number goes through all slots.
        pair[0].open(flow * 40_503 % FLOWS, (flow % 9) as u16 + 1);
    }
    for port in 0..200 {
        pair[0].open_port(port * 2, (port % 9) as u16 + 1);
    }
    // Nobody's any more.
    pair[1].open(0, 3);
    pair[1].open_port(1, 3);
    start(&mut pair);
    let took = wait_for_sync(&pair);
    let [active, standby] = &pair;
    let sent = active.status();
    println!(
        "in sync after {took:?}, with {} bytes in {} datagrams",
        sent.sent.bytes, sent.sent.datagrams
    );
    assert!(sent.slots_sent >= 100_200 && standby.status().slots_written >= 100_200);

    let mut times = Vec::new();
    for change in 0..60 {
        let slot = change * 4_001 % FLOWS;
        let before = standby.word(slot);
        if change % 3 == 2 {
            active.flows.words()[slot].store(0, Ordering::Relaxed);
        } else {
            active.open(slot, (change % 7) as u16 + 1);
        }
        let is_changed = active.word(slot) != 0 || before != 0;
        if is_changed && !is_same_word(active, standby, slot) {
            times.push(wait("the change", || is_same_word(active, standby, slot)));
        }
    }
    times.sort();
    println!(
        "{} changes: median {:?}, longest {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
    active.open_port(77, 5);
    wait("the port", || is_same(active, standby));
    let (sent, taken) = (active.status(), standby.status());
    assert!(
        sent.lag.is_some_and(|lag| lag < Duration::from_secs(2)),
        "{:?}",
        sent.lag
    );
    assert!(taken.lag.is_some() && taken.connected.is_some() && sent.connected.is_some());
    assert_eq!(taken.discarded, super::Counts::default());
    assert!(standby.told(Told::InSync(true)) && active.told(Told::StandbyInSync(true)));
}

fn is_same_word(active: &Node, standby: &Node, slot: usize) -> bool {
    let (ours, theirs) = (
        Entry::from_bits(active.word(slot)),
        Entry::from_bits(standby.word(slot)),
    );
    match ours.is_empty() {
        true => theirs.is_empty(),
        false => theirs.backend() == ours.backend() + OFFSET,
    }
}

#[test]
fn roles_change_and_nothing_is_lost() {
    let mut pair = pair();
    (0..500).for_each(|flow| pair[0].open(flow * 7, 4));
    start(&mut pair);
    wait_for_sync(&pair);
    // What the old active node learns when it can tell nobody any more.
    pair[0].replicator().set_role(Role::Off);
    wait("off", || pair[0].status().role == Role::Off);
    wait("told", || pair[1].told(Told::Disconnected(Ending::Bye)));
    assert!(
        pair[0].told(Told::Disconnected(Ending::Role)) && pair[0].told(Told::StandbyInSync(false))
    );
    assert!(pair[1].told(Told::InSync(false)));
    pair[0].open(4_001, 5);
    pair[1].replicator().set_role(Role::Active);
    pair[1].open(4_002, 6);
    pair[0].replicator().set_role(Role::Standby);
    wait("in sync", || {
        pair[0].status().in_sync && pair[1].status().in_sync
    });
    assert_eq!(Entry::from_bits(pair[0].word(4_002)).backend(), 6);
    assert_eq!(Entry::from_bits(pair[0].word(4_001)).backend(), 5);
    assert!(pair[0].status().discarded.of(Discard::Kept) > 0);
    // And back, several times over; what is in one table is in both by then.
    pair[0].flows.words()[4_001].store(0, Ordering::Relaxed);
    for round in 0..6 {
        let (new, old) = (round % 2, 1 - round % 2);
        pair[old].replicator().set_role(Role::Standby);
        pair[new].replicator().set_role(Role::Active);
        let is_there = || {
            let (new, old) = (pair[new].status(), pair[old].status());
            new.role == Role::Active && old.role == Role::Standby && new.in_sync && old.in_sync
        };
        wait("in sync", is_there);
        pair[new].open(5_000 + round, 3);
        wait("the same", || is_same(&pair[new], &pair[old]));
    }
}

#[test]
fn a_peer_that_starts_anew_is_told_everything() {
    let mut pair = pair();
    pair[0].open(5, 4);
    start(&mut pair);
    wait_for_sync(&pair);
    // The standby ends in order, and comes back with an empty table.
    pair[1].replicator = None;
    wait("told", || pair[0].told(Told::Disconnected(Ending::Bye)));
    // It is told before it is shown.
    wait("shown", || {
        let status = pair[0].status();
        !status.in_sync && status.connected.is_none()
    });
    pair[0].open(6, 4);
    pair[1].flows.words()[5].store(0, Ordering::Relaxed);
    pair[1].start(Role::Standby);
    wait_for_sync(&pair);
    // And so does the active node.
    pair[0].start(Role::Active);
    pair[0].open(7, 4);
    wait_for_sync(&pair);
    assert!(pair[0].status().unsent == 0 && pair[0].status().trouble.is_none());
    let start = Instant::now();
    pair.into_iter()
        .for_each(|node| node.replicator.expect("started").stop());
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn rosters_change_under_way() {
    let mut pair = pair();
    start(&mut pair);
    wait_for_sync(&pair);
    // A backend that the active node has first.
    pair[0].replicator().set_roster(pair[0].roster(12));
    pair[0].open(50, 12);
    wait("counted", || {
        pair[1].status().discarded.of(Discard::UnknownBackend) > 0
    });
    assert_eq!(pair[1].word(50), 0);
    pair[1].replicator().set_roster(pair[1].roster(12));
    wait("the same", || is_same(&pair[0], &pair[1]));
    wait_for_sync(&pair);
}

/// Nanoseconds that each thread of replication has run, in the order of their start.
fn run_times() -> Vec<u64> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("our threads");
    let mut threads: Vec<_> = tasks.map(|task| task.expect("a thread").path()).collect();
    threads.sort();
    let is_ours = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "replicate\n")
    };
    let run = |task: &std::path::PathBuf| -> Option<u64> {
        let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    threads
        .iter()
        .filter(|task| is_ours(task))
        .filter_map(run)
        .collect()
}

/// What replication costs while little happens; run by hand: `cargo test --release -p lb-userspace --lib
/// replicator -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_it_costs_while_nothing_changes() {
    for bits in [21, 24, 26] {
        let slots = 1usize << bits;
        let mut pair = pair();
        for node in &mut pair {
            // The usual tick.
            node.terms = Terms {
                tick_ns: 33_000 * MILLISECOND,
                ..terms(slots as u64)
            };
            node.flows = Arc::new(Shared::zeroed((slots / 8) as u32));
        }
        for slot in (0..slots.min(1 << 21)).step_by(2) {
            pair[0].open(slot * (slots >> 21).max(1), (slot % 9) as u16 + 1);
        }
        start(&mut pair);
        let both = || pair.iter().all(|node| node.status().in_sync);
        let took = wait("in sync", both);
        let (before, start) = (run_times(), Instant::now());
        let sent = pair.each_ref().map(|node| node.status().sent.bytes);
        let turns = |end: u64| wait("the time", || start.elapsed() > Duration::from_secs(end));
        turns(5);
        let seconds = start.elapsed().as_secs_f64();
        let shares: Vec<f64> = run_times()
            .iter()
            .zip(before)
            .map(|(after, before)| (after - before) as f64 / 1e7 / seconds)
            .collect();
        let bytes: Vec<f64> = pair
            .iter()
            .zip(sent)
            .map(|(node, before)| (node.status().sent.bytes - before) as f64 / seconds)
            .collect();
        println!(
            "2^{bits} slots: in sync after {took:.2?}; active {:.1} %, {:.0} B/s; standby {:.1} %, {:.0} B/s",
            shares[0], bytes[0], shares[1], bytes[1]
        );
    }
}
