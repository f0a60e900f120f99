use std::sync::atomic::Ordering;

use lb_common::{
    abi::{Owner, ipv4},
    flow::{Entry, State, Tick},
};
use proptest::prelude::*;

use super::{
    Action, Discard, Ending, Limits, MILLISECOND, Receiver,
    simulation::{Faults, SKEW, TIMEOUTS, World, key, roster, terms},
};

/// What happens to the active node's table.
#[derive(Debug, Clone, Copy)]
enum Event {
    Open(usize, u16, u8),
    Touch(usize),
    Close(usize),
    OpenPort(usize, u16),
    ClosePort(usize),
    Wait(u64),
}

fn events(slots: usize, ports: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..slots, 1u16..=9, 0u8..4).prop_map(|(slot, backend, state)| Event::Open(slot, backend, state)),
        2 => (0..slots).prop_map(Event::Touch),
        2 => (0..slots).prop_map(Event::Close),
        2 => (0..ports, 1u16..=9).prop_map(|(slot, backend)| Event::OpenPort(slot, backend)),
        1 => (0..ports).prop_map(Event::ClosePort),
        1 => (0u64..60).prop_map(Event::Wait),
    ];
    prop::collection::vec(event, 1..300)
}

fn happen(world: &mut World, event: Event) {
    let now = world.now(false).tick;
    let any = world.random(1 << 38);
    let entry =
        |backend, state: u8| Entry::new(any, backend, now, State::ALL[usize::from(state)]).bits();
    match event {
        Event::Open(slot, backend, state) => world.active.set(slot, entry(backend, state)),
        Event::Touch(slot) => {
            let held = Entry::from_bits(world.active.word(slot));
            if !held.is_empty() {
                world
                    .active
                    .set(slot, held.touched(now, State::Established).bits());
            }
        }
        Event::Close(slot) => world.active.set(slot, 0),
        Event::OpenPort(slot, backend) => {
            let (bucket, slot) = ((slot / 8) as u32, slot % 8);
            let mut record = world.active.ports.load(bucket);
            record.entries[slot] = entry(backend, 1);
            record.owners[slot] = Owner {
                client: ipv4((any as u32).to_ne_bytes()),
                client_port: any as u16,
                vip_port: 80,
                service: u32::from(backend % 4),
            };
            world.active.ports.store(bucket, &record);
        }
        Event::ClosePort(slot) => {
            world.active.ports.record((slot / 8) as u32)[slot % 8].store(0, Ordering::Relaxed);
        }
        Event::Wait(ms) => world.run(ms),
    }
}

/// Until the tables are the same, at most so many milliseconds.
fn settle(world: &mut World, ms: u64) -> Result<(), String> {
    for _ in 0..ms {
        world.step();
        if world.receiver.status(world.now(true)).in_sync && world.difference().is_none() {
            return Ok(());
        }
    }
    let status = world.receiver.status(world.now(true));
    let (sent, taken) = (world.sender.counts(), world.receiver.counts());
    Err(format!(
        "{:?} {status:?} {sent:?} {taken:?}",
        world.difference()
    ))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the network does, the standby's table is the active node's in the end.
    #[test]
    fn the_standby_follows(
        before in events(512, 64), after in events(512, 64), seed: u64,
        lost in 0u32..40, doubled in 0u32..20, corrupted in 0u32..20, replayed in 0u32..20,
        delay in 0u64..40, rate in 300u32..20_000,
    ) {
        let limits = Limits { bytes_per_ms: rate, slots_per_poll: 200, ..Limits::default() };
        let mut world = World::new(64, 8, limits, seed);
        // What the standby held before is nobody's any more.
        for slot in [3, 100, 511] {
            world.standby.set(slot, Entry::new(5, 3, 0, State::Established).bits());
        }
        for event in before {
            happen(&mut world, event);
        }
        world.faults = Faults { lost, doubled, corrupted, replayed, delay };
        for (i, event) in after.into_iter().enumerate() {
            happen(&mut world, event);
            if i % 3 == 0 {
                world.step();
            }
        }
        world.run(200);
        // The network may stay as bad as it is.
        prop_assert_eq!(settle(&mut world, 20_000), Ok(()));
        // And nothing that arrives late spoils it.
        world.faults = Faults::default();
        world.run(300);
        prop_assert_eq!(world.difference(), None);
    }

    /// Forged, cut and replayed datagrams change nothing and are counted.
    #[test]
    fn nothing_forged_changes_anything(
        seed: u64, junk in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..1_500), 0u8..6), 1..40),
    ) {
        let mut world = World::new(16, 2, Limits::default(), seed);
        for slot in 0..40 {
            happen(&mut world, Event::Open(slot, 4, 1));
        }
        prop_assert_eq!(settle(&mut world, 2_000), Ok(()));
        let recorded = world.recorded();
        let counted = |world: &World| -> u64 {
            Discard::ALL.iter().map(|why| world.sender.counts().of(*why) + world.receiver.counts().of(*why)).sum()
        };
        let (before, connected) = (counted(&world), world.events.len());
        let mut sent = 0;
        for (mut bytes, kind) in junk {
            // Some look like ours from afar.
            if bytes.len() > 4 && kind < 5 {
                bytes[..4].copy_from_slice(&[b'F', b'R', 1, kind]);
            }
            world.deliver(true, &bytes);
            world.deliver(false, &bytes);
            sent += 2;
        }
        let mut replayed_greetings = 0;
        for (to_standby, datagram) in recorded {
            // A greeting that was answered long ago is answered with nothing.
            replayed_greetings += u64::from(datagram[3] <= 2);
            world.deliver(to_standby, &datagram);
            sent += 1;
        }
        prop_assert_eq!(counted(&world) - before, sent);
        prop_assert!(replayed_greetings >= 2);
        world.run(50);
        prop_assert_eq!(world.difference(), None);
        let ended = |(_, action): &(bool, Action)| matches!(action, Action::Disconnected(_) | Action::InSync(false));
        prop_assert!(!world.events[connected..].iter().any(ended));
    }

    /// In any time there are at most the rate's bytes for it, and one burst.
    #[test]
    fn the_rate_is_kept(seed: u64, rate in 200u32..4_000, lost in 0u32..30) {
        let limits = Limits { bytes_per_ms: rate, ..Limits::default() };
        let mut world = World::new(256, 8, limits, seed);
        for slot in 0..2_048 {
            happen(&mut world, Event::Open(slot, 4, 1));
        }
        while !world.sender.status(world.now(false)).is_connected {
            world.step();
        }
        world.faults.lost = lost;
        world.run(1_000);
        for slot in 0..2_048 {
            happen(&mut world, Event::Open(slot, 5, 1));
        }
        world.run(300);
        let burst = (u64::from(rate) * 10).max(4 * 1_400);
        let total: usize = world.bytes.iter().map(|(_, bytes)| bytes).sum();
        prop_assert!(total > 10_000, "{}", total);
        for (i, (from, _)) in world.bytes.iter().enumerate() {
            let mut sum = 0;
            for (at, bytes) in &world.bytes[i..] {
                sum += *bytes as u64;
                let bound = (at - from) * u64::from(rate) + burst;
                prop_assert!(sum <= bound, "{} bytes in {} ms", sum, at - from);
            }
        }
    }
}

#[test]
fn a_change_arrives_within_100_ms_and_says_so() {
    let mut world = World::new(1 << 15, 64, Limits::default(), 1);
    for slot in 0..100_000 {
        happen(&mut world, Event::Open(slot * 2, 4, 1));
    }
    assert_eq!(settle(&mut world, 2_000), Ok(()));
    for slot in (1..200_000).step_by(9_973) {
        happen(&mut world, Event::Open(slot, 6, 1));
        happen(&mut world, Event::Close(slot - 1));
        assert!(world.difference().is_some());
        let start = world.ms;
        while world.standby.word(slot) == 0 || world.standby.word(slot - 1) != 0 {
            world.step();
            assert!(world.ms - start < 100);
        }
        let lag = world.receiver.status(world.now(true)).lag.expect("known");
        assert!(lag < 200 * MILLISECOND, "{lag}");
    }
    assert_eq!(world.receiver.counts(), &super::Counts::default());
}

#[test]
fn a_flood_of_new_flows_keeps_no_established_one_back() {
    let limits = Limits {
        bytes_per_ms: 1_000,
        ..Limits::default()
    };
    let mut world = World::new(1 << 12, 8, limits, 1);
    assert_eq!(settle(&mut world, 2_000), Ok(()));
    for round in 0..10 {
        // 160 changes a millisecond of 9 bytes and more each: half as much again as may be sent.
        for _ in 0..50 {
            for _ in 0..160 {
                let slot = world.random(1 << 14) as usize * 2;
                happen(&mut world, Event::Open(slot, 4, 0));
            }
            world.step();
        }
        let slot = 2_001 + 2 * round;
        happen(&mut world, Event::Open(slot, 6, 1));
        let start = world.ms;
        while world.standby.word(slot) == 0 {
            for _ in 0..160 {
                let slot = world.random(1 << 14) as usize * 2;
                happen(&mut world, Event::Open(slot, 4, 0));
            }
            world.step();
            assert!(world.ms - start < 100);
        }
    }
}

#[test]
fn ages_are_kept_alive_on_the_standby() {
    let mut world = World::new(8, 8, Limits::default(), 1);
    happen(&mut world, Event::Open(5, 4, 1));
    assert_eq!(settle(&mut world, 2_000), Ok(()));
    for _ in 0..400 {
        world.run(1_000);
        happen(&mut world, Event::Touch(5));
        let copy = Entry::from_bits(world.standby.word(5));
        assert!(copy.idle(world.now(true).tick) <= TIMEOUTS.of(State::Established) / 4 + 1);
    }
    // A few times, not at each tick.
    assert!(world.receiver.status(world.now(true)).written < 40);
}

#[test]
fn a_sender_that_starts_anew_finds_the_standby_again() {
    let mut world = World::new(16, 8, Limits::default(), 1);
    happen(&mut world, Event::Open(5, 4, 1));
    assert_eq!(settle(&mut world, 2_000), Ok(()));
    world.restart_sender(Limits::default(), 9);
    happen(&mut world, Event::Close(5));
    happen(&mut world, Event::Open(6, 2, 1));
    world.run(550);
    assert!(world.events.contains(&(true, Action::InSync(false))));
    assert!(
        world
            .events
            .contains(&(true, Action::Disconnected(Ending::Silence)))
    );
    assert_eq!(settle(&mut world, 1_000), Ok(()));
}

#[test]
fn a_standby_that_starts_anew_is_told_everything() {
    let mut world = World::new(16, 8, Limits::default(), 1);
    happen(&mut world, Event::Open(5, 4, 1));
    assert_eq!(settle(&mut world, 2_000), Ok(()));
    let terms = terms(128);
    let limits = Limits::default();
    world.receiver = Receiver::new(
        key(2),
        terms,
        TIMEOUTS,
        limits,
        roster(100, 9),
        None,
        &[9; 32],
    );
    world.standby.set(5, 0);
    assert_eq!(settle(&mut world, 1_000), Ok(()));
    assert!(
        world
            .events
            .contains(&(false, Action::Disconnected(Ending::Anew)))
    );
}

#[test]
fn an_orderly_end_is_told() {
    let mut world = World::new(16, 8, Limits::default(), 1);
    assert_eq!(settle(&mut world, 2_000), Ok(()));
    let mut out = Vec::new();
    world.sender.stop(&mut out);
    let [Action::Send(bye)] = &out[..] else {
        panic!("{out:?}");
    };
    world.deliver(true, bye);
    assert!(
        world
            .events
            .contains(&(true, Action::Disconnected(Ending::Bye)))
    );
    assert!(!world.receiver.status(world.now(true)).is_connected);
}

#[test]
fn what_the_standby_doesnt_know_yet_comes_when_it_does() {
    let mut world = World::new(16, 8, Limits::default(), 1);
    let (terms, limits) = (terms(128), Limits::default());
    world.receiver = Receiver::new(
        key(2),
        terms,
        TIMEOUTS,
        limits,
        roster(100, 5),
        None,
        &[9; 32],
    );
    happen(&mut world, Event::Open(5, 4, 1));
    happen(&mut world, Event::Open(6, 7, 1));
    world.run(300);
    assert_ne!(world.standby.word(5), 0);
    assert_eq!(world.standby.word(6), 0);
    assert!(world.receiver.counts().of(Discard::UnknownBackend) > 0);
    world.receiver.set_roster(roster(100, 9));
    assert_eq!(settle(&mut world, 1_000), Ok(()));
    // And the other way round: the active node has more, and gives an old number anew. What nobody has
    // told of yet needs not be told again.
    world.run(500);
    let before = world.events.len();
    world.receiver.set_roster(roster(100, 20));
    world.run(200);
    assert_eq!(world.events[before..], []);
    world.sender.set_roster(roster(0, 20));
    happen(&mut world, Event::Open(7, 15, 1));
    assert_eq!(settle(&mut world, 1_000), Ok(()));
}

#[test]
fn what_was_learnt_just_before_stepping_down_stays() {
    let mut world = World::new(16, 8, Limits::default(), 1);
    let (terms, limits) = (terms(128), Limits::default());
    let now: Tick = world.now(true).tick;
    let (recent, old) = (now, now.wrapping_sub(9));
    let stepped_down = Some(now);
    world.receiver = Receiver::new(
        key(2),
        terms,
        TIMEOUTS,
        limits,
        roster(100, 9),
        stepped_down,
        &[9; 32],
    );
    let entry = |age, state| Entry::new(77, 104, age, state).bits();
    world.standby.set(3, entry(recent, State::Established));
    world.standby.set(9, entry(old, State::Established));
    world.standby.set(17, entry(recent, State::New));
    world.run(300);
    assert!(world.receiver.status(world.now(true)).in_sync);
    assert_eq!(world.standby.word(3), entry(recent, State::Established));
    assert_eq!((world.standby.word(9), world.standby.word(17)), (0, 0));
    assert_eq!(world.receiver.counts().of(Discard::Kept), 1);
    // From then on the active node's word counts.
    happen(&mut world, Event::Open(3, 4, 0));
    world.run(300);
    assert_eq!(world.difference(), None);
    assert_eq!(
        SKEW,
        world.now(true).tick.wrapping_sub(world.now(false).tick)
    );
}
