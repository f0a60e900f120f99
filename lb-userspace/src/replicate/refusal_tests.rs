use super::{
    Action, Discard, Limits, Receiver, Refusal, Sender,
    seal::{Kind, Sealer, VERSION},
    simulation::{TIMEOUTS, World, key, roster, terms},
    wire::{Difference, Terms, greeting},
};

/// A world whose standby has this key and these terms.
fn world(last: u8, theirs: Terms) -> World {
    let mut world = World::new(16, 8, Limits::default(), 1);
    let (key, limits) = (key(last), Limits::default());
    world.receiver = Receiver::new(key, theirs, TIMEOUTS, limits, roster(0, 3), None, &[5; 32]);
    world
}

fn refusals(world: &World, by_standby: bool) -> Vec<Refusal> {
    let refusal = |(by, action): &(bool, Action)| match action {
        Action::Refused(refusal) if *by == by_standby => Some(*refusal),
        _ => None,
    };
    world.events.iter().filter_map(refusal).collect()
}

#[test]
fn another_key_is_named_by_both_and_starts_nothing() {
    let mut world = world(3, terms(128));
    world.run(2_000);
    assert_eq!(refusals(&world, false), [Refusal::Key]);
    assert_eq!(refusals(&world, true), [Refusal::Key]);
    assert!(world.sender.counts().of(Discard::Unauthentic) >= 19);
    assert_eq!(world.receiver.counts().of(Discard::Unauthentic), 1);
    assert!(!world.sender.status(world.now(false)).is_connected);
    assert!(!world.receiver.status(world.now(true)).is_connected);
    // It is told again, in case nobody has read it.
    world.run(10_000);
    assert_eq!(refusals(&world, false).len(), 2);
}

#[test]
fn another_configuration_is_named_by_both() {
    let ours = terms(128);
    type Expected = fn(u64, u64) -> Difference;
    let differences: [(Terms, Expected); 4] = [
        (terms(256), |theirs, ours| Difference::FlowSlots {
            theirs,
            ours,
        }),
        (Terms { pool: 9, ..ours }, |_, _| Difference::Pool),
        (
            Terms {
                flow_keys: [0; 16],
                ..ours
            },
            |_, _| Difference::FlowKeys,
        ),
        (
            Terms {
                pool_addresses: [0; 16],
                ..ours
            },
            |_, _| Difference::PoolAddresses,
        ),
    ];
    for (theirs, difference) in differences {
        let mut world = world(2, theirs);
        world.run(1_000);
        let named = |refusal| [Refusal::Configuration(refusal)];
        assert_eq!(refusals(&world, false), named(difference(256, 128)));
        assert_eq!(refusals(&world, true), named(difference(128, 256)));
        assert!(world.sender.counts().of(Discard::Configuration) >= 9);
        assert!(!world.sender.status(world.now(false)).is_connected);
    }
    // Clocks may differ.
    let mut world = world(2, Terms { tick_ns: 1, ..ours });
    world.run(500);
    assert!(world.receiver.status(world.now(true)).in_sync);
}

#[test]
fn another_version_is_named_if_it_authenticates() {
    let theirs = VERSION + 1;
    let of_version = |kind, last| {
        let mut sealer = Sealer::greeting(&key(last), kind, &[4; 16]);
        sealer.speak(theirs);
        sealer.seal(b"whatever that version says")
    };
    let mut world = world(2, terms(128));
    world.deliver(false, &of_version(Kind::Hello, 2));
    world.deliver(true, &of_version(Kind::Welcome, 2));
    assert_eq!(refusals(&world, false), [Refusal::Version { theirs }]);
    assert_eq!(refusals(&world, true), [Refusal::Version { theirs }]);
    assert_eq!(world.sender.counts().of(Discard::Version), 1);
    assert_eq!(world.receiver.counts().of(Discard::Version), 1);
    world.deliver(false, &of_version(Kind::Hello, 3));
    assert_eq!(world.sender.counts().of(Discard::Unauthentic), 1);
}

#[test]
fn nobody_who_repeats_greetings_pushes_a_session_out_or_gets_much_back() {
    let mut world = World::new(16, 8, Limits::default(), 1);
    let old =
        Sealer::greeting(&key(2), Kind::Hello, &[4; 16]).seal(&greeting(&[0; 16], &terms(128)));
    world.run(300);
    assert!(world.receiver.status(world.now(true)).in_sync);
    let before = world.bytes.len();
    for _ in 0..500 {
        world.deliver(false, &old);
        world.step();
    }
    let longest = world.bytes[before..].iter().map(|(_, bytes)| *bytes).max();
    assert_eq!(longest, Some(old.len()));
    assert!(world.receiver.status(world.now(true)).in_sync);
    let ended = |(_, action): &(bool, Action)| matches!(action, Action::Disconnected(_));
    assert!(!world.events.iter().any(ended));
}

#[test]
fn refusals_say_the_way_out() {
    let texts = [Refusal::Key, Refusal::Version { theirs: 9 }].map(|refusal| refusal.to_string());
    assert!(texts[0].contains("cluster key") && texts[1].contains("version 9"));
    // Senders without a peer do nothing.
    let mut world = World::new(16, 8, Limits::default(), 1);
    let mut sender = Sender::new(
        key(2),
        terms(128),
        TIMEOUTS,
        Limits::default(),
        roster(0, 1),
        &[0; 32],
    );
    let mut out = Vec::new();
    sender.poll(world.now(false), &world.active.tables(), &mut out);
    sender.stop(&mut out);
    assert_eq!(out, []);
    world.step();
}
