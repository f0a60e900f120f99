//! Two and three nodes through crashes, stops, splits, losses and commands.
//!
//! The bounds are those of the module's documentation, with [`DELAY`] and [`JITTER`] for `d`.

use std::num::NonZeroU8;

use proptest::prelude::*;

use super::{
    Event, Interval, Nanos, Settings, State, Version, lease,
    simulation::{DELAY, JITTER, MS, Run, World},
    timing::{down, spacing},
};

fn interval(version: Version) -> Interval {
    let centiseconds = match version {
        Version::V2 => 100,
        Version::V3 => 2,
    };
    Interval::from_centiseconds(version, centiseconds).unwrap()
}

fn settings(node: usize, interval: Interval, priority: u8, preempt: bool) -> Settings {
    Settings {
        interval,
        priority: NonZeroU8::new(priority).unwrap(),
        address: World::address(node),
        preempt,
        preempt_delay: 0,
        announcements: 3,
        announce_every: 10 * MS,
    }
}

/// A world whose nodes are in sync and were started at random moments.
fn start(seed: u64, interval: Interval, priorities: &[u8], preempt: bool) -> World {
    let all = priorities.iter().enumerate();
    let mut world = World::new(
        seed,
        all.map(|(node, &p)| settings(node, interval, p, preempt)),
    );
    for node in 0..priorities.len() {
        world.give(node, Event::InSync(true));
        world.give(node, Event::Start);
        let later = seed.rotate_left(8 * (node as u32 + 1)) % interval.nanos();
        world.run(world.now + later, |_| {});
    }
    world
}

/// Until one node has taken over for good, after a start or a heal without losses.
fn settle(world: &mut World) {
    let interval = world.nodes[0].settings.interval;
    let delay = world
        .nodes
        .iter()
        .map(|node| node.settings.preempt_delay)
        .max()
        .unwrap();
    world.run(world.now + 3 * down(1, interval) + delay, |_| {});
}

fn active(world: &World) -> usize {
    let active: Vec<usize> = (0..world.nodes.len())
        .filter(|&node| world.nodes[node].run == Run::Runs)
        .filter(|&node| world.nodes[node].machine.state() == State::Active)
        .collect();
    assert_eq!(active.len(), 1, "one active node, not {active:?}");
    assert_eq!(
        world.holders(),
        active,
        "the active node alone holds the VIPs"
    );
    active[0]
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V2), Just(Version::V3)]
}

fn priorities() -> impl Strategy<Value = Vec<u8>> {
    // Ties and the extremes are more likely than at random.
    let one = prop_oneof![Just(1_u8), Just(100), Just(101), Just(254), 1..=254_u8];
    prop::collection::vec(one, 2..=3)
}

/// What is done to the world.
#[derive(Debug, Clone)]
enum Trouble {
    /// Stops a node after so many actions, or at once.
    Stop(usize, usize),
    GoOn(usize),
    Crash(usize),
    /// Cuts one direction.
    Cut(usize, usize),
    /// Cuts a node off.
    Isolate(usize),
    Loss(u64),
    Heal,
    Mute(usize, bool),
    Event(usize, Event),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let node = || 0..3_usize;
    let event = prop_oneof![
        Just(Event::Stop),
        Just(Event::Start),
        Just(Event::HandOver),
        any::<bool>().prop_map(Event::InSync),
        any::<bool>().prop_map(Event::Link),
        (0..=255_u8, any::<bool>()).prop_map(|(penalty, fault)| Event::Track { penalty, fault }),
    ];
    prop_oneof![
        3 => (node(), prop_oneof![Just(0), 0..6_usize]).prop_map(|(node, after)| Trouble::Stop(node, after)),
        4 => node().prop_map(Trouble::GoOn),
        1 => node().prop_map(Trouble::Crash),
        2 => (node(), node()).prop_map(|(from, to)| Trouble::Cut(from, to)),
        2 => node().prop_map(Trouble::Isolate),
        2 => (0..60_u64).prop_map(Trouble::Loss),
        4 => Just(Trouble::Heal),
        1 => (node(), any::<bool>()).prop_map(|(node, mute)| Trouble::Mute(node, mute)),
        5 => (node(), event).prop_map(|(node, event)| Trouble::Event(node, event)),
    ]
}

/// Until when two nodes may both hold the VIPs for what has been done to them.
#[derive(Debug, Default)]
struct Excuse {
    until: Nanos,
    /// They may not hear each other.
    impaired: bool,
}

impl Excuse {
    fn extend(&mut self, until: Nanos) {
        self.until = self.until.max(until);
    }
}

/// Packets may pass each other, or a timer be late.
const D: Nanos = DELAY + JITTER;

fn impaired(world: &World) -> bool {
    world.loss > 0 || world.cut.iter().flatten().any(|&cut| cut)
}

fn cause(world: &mut World, trouble: &Trouble, excuse: &mut Excuse) {
    let count = world.nodes.len();
    let now = world.now;
    let interval = world.nodes[0].settings.interval;
    match *trouble {
        Trouble::Stop(node, after) if node < count && world.nodes[node].run == Run::Runs => {
            world.nodes[node].run = if after == 0 {
                Run::Stopped
            } else {
                Run::Stops(after)
            };
        }
        Trouble::GoOn(node) if node < count => {
            world.go_on(node);
            // It may go on with a lease just as another takes over.
            excuse.extend(now + 2 * D);
        }
        // One is left over, so that there is somebody to be active.
        Trouble::Crash(node) if node < count && node > 0 => {
            world.nodes[node].run = Run::Crashed;
        }
        Trouble::Cut(from, to) if from < count && to < count => world.cut[from][to] = from != to,
        Trouble::Isolate(node) if node < count => {
            for other in (0..count).filter(|&other| other != node) {
                world.cut[node][other] = true;
                world.cut[other][node] = true;
            }
        }
        Trouble::Loss(loss) => world.loss = loss,
        Trouble::Heal => heal(world),
        Trouble::Mute(node, mute) if node < count => {
            // Its next advertisement is heard again.
            excuse.extend(now + interval.nanos() + 2 * D);
            world.mute[node] = mute;
        }
        Trouble::Event(node, ref event) if node < count => {
            if matches!(event, Event::Stop | Event::HandOver) && world.holders().len() > 1 {
                // If all that are active leave, each waits for a standby.
                excuse.extend(now + 2 * interval.nanos());
            }
            world.give(node, event.clone());
        }
        _ => {}
    }
    let impaired = impaired(world);
    if excuse.impaired && !impaired {
        // The next advertisement of each node is heard.
        excuse.extend(now + interval.nanos() + 2 * D);
    }
    excuse.impaired = impaired;
}

fn heal(world: &mut World) {
    world.loss = 0;
    world.cut.iter_mut().flatten().for_each(|cut| *cut = false);
}

/// The invariants that hold at any time.
fn check(world: &World, excuse: &Excuse) {
    let interval = world.nodes[0].settings.interval;
    for node in &world.nodes {
        assert!(
            node.held <= node.sent + lease(interval),
            "a lease from no advertisement"
        );
    }
    if excuse.impaired {
        return;
    }
    for (pair, both) in &world.both {
        // A node that doesn't run can't hear, one that can't send isn't heard: their leases
        // have to run out by themselves.
        let dumb = pair.iter().filter(|&&node| {
            world.mute[node] || matches!(world.nodes[node].run, Run::Stopped | Run::Crashed)
        });
        let lapse = dumb.map(|&node| world.nodes[node].held).max().unwrap_or(0);
        if let Some(&(from, to)) = both.last()
            && to == world.now
        {
            let ends = (from + 2 * D + spacing(interval))
                .max(lapse)
                .max(excuse.until);
            assert!(
                to <= ends,
                "{pair:?} hold the VIPs from {from} to {to}, {} too long",
                to - ends
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever happens, nobody holds the VIPs for longer than the bounds say; and when it is
    /// over, one node alone does, and goes on.
    #[test]
    fn the_bounds_hold_whatever_happens(
        seed in any::<u64>(),
        version in version(),
        priorities in priorities(),
        preempt in any::<bool>(),
        reorder in any::<bool>(),
        history in prop::collection::vec((trouble(), 0..1_000_u64), 0..40),
    ) {
        let interval = interval(version);
        let mut world = start(seed, interval, &priorities, preempt);
        world.reorder = reorder;
        let mut excuse = Excuse::default();
        for (trouble, pause) in &history {
            cause(&mut world, trouble, &mut excuse);
            // From nothing to five intervals.
            let pause = pause * pause * interval.nanos() / 200_000;
            let until = world.now + pause;
            world.run(until, |world| check(world, &excuse));
        }

        for node in 0..world.nodes.len() {
            cause(&mut world, &Trouble::Mute(node, false), &mut excuse);
            cause(&mut world, &Trouble::GoOn(node), &mut excuse);
            for event in [Event::Link(true), Event::Track { penalty: 0, fault: false }, Event::InSync(true)] {
                world.give(node, event);
            }
        }
        cause(&mut world, &Trouble::Heal, &mut excuse);
        world.reorder = false;
        // Who stops stays a while; nobody else starts meanwhile.
        world.run(world.now + 2 * interval.nanos() + 2 * D, |world| check(world, &excuse));
        for node in 0..world.nodes.len() {
            world.give(node, Event::Start);
        }
        for _ in 0..5 {
            world.run(world.now + down(1, interval), |world| check(world, &excuse));
        }
        let winner = active(&world);
        let take_overs = world.take_overs();
        let stretches = world.nobody.len();
        world.run(world.now + 20 * interval.nanos(), |world| check(world, &excuse));
        prop_assert_eq!(active(&world), winner);
        prop_assert_eq!(world.take_overs(), take_overs, "the VIPs go on moving");
        prop_assert_eq!(world.nobody.len(), stretches, "the VIPs aren't held throughout");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The active node dies or is stopped, at any of its actions: the next one has the VIPs within its
    /// down interval, and never before the lease of the first has run out.
    #[test]
    fn a_dead_node_is_replaced_in_time_and_not_before(
        seed in any::<u64>(),
        version in version(),
        priorities in priorities(),
        when in 0..1_000_u64,
        after in 0..5_usize,
        crash in any::<bool>(),
    ) {
        let interval = interval(version);
        let mut world = start(seed, interval, &priorities, true);
        settle(&mut world);
        let first = active(&world);
        world.run(world.now + when * interval.nanos() / 1_000, |_| {});
        world.nodes[first].run = match (crash, after) {
            (true, _) => Run::Crashed,
            (false, 0) => Run::Stopped,
            (false, after) => Run::Stops(after),
        };
        // The node may go on for some actions, but then it stops at its next ones.
        world.run(world.now + 4 * interval.nanos(), |_| {});
        let last = world.nodes[first].sent;
        let rivals = (0..priorities.len()).filter(|&node| node != first);
        let slowest = rivals.map(|node| down(priorities[node], interval)).min().unwrap();
        let limit = last + slowest + DELAY + JITTER;
        world.run(limit.max(world.now), |_| {});
        prop_assert_eq!(world.nodes[first].run, if crash { Run::Crashed } else { Run::Stopped });
        let heirs = world.holders();
        prop_assert!(!heirs.is_empty() && heirs != [first], "{heirs:?} instead of another than {first}");
        let taken = world.nodes.iter().enumerate().filter(|&(node, _)| node != first);
        let taken = taken.filter_map(|(_, node)| node.became.last().filter(|(_, state, _)| *state == State::Active));
        let taken = taken.map(|&(at, ..)| at).min().unwrap();
        prop_assert!(taken <= limit);
        // Heirs of like priority may meet; with the dead one there is no meeting.
        let dead = world.nodes[first].held;
        prop_assert!(dead <= last + lease(interval));
        prop_assert!(taken >= dead, "taken over {} before the lease ran out", dead.saturating_sub(taken));
        // A stopped node that goes on doesn't believe it is active still.
        if !crash {
            let before = world.nodes[first].announced.len();
            world.run(world.now + interval.nanos(), |_| {});
            world.go_on(first);
            prop_assert_eq!(world.nodes[first].machine.state(), State::Standby);
            prop_assert_eq!(world.nodes[first].announced.len(), before);
            prop_assert_eq!(world.nodes[first].held.max(world.now), world.now);
        }
    }

    /// If its last advertisements had been lost, for no longer than those took.
    #[test]
    fn lost_advertisements_cost_an_interval_each(
        seed in any::<u64>(),
        version in version(),
        lost in 0..3_u64,
        when in 0..1_000_u64,
    ) {
        let interval = interval(version);
        let mut world = start(seed, interval, &[100, 200], true);
        settle(&mut world);
        prop_assert_eq!(active(&world), 1);
        world.run(world.now + when * interval.nanos() / 1_000, |_| {});
        let from = world.now;
        world.cut[1][0] = true;
        let sent = world.nodes[1].sent;
        // So many advertisements are lost, then it dies.
        let until = sent + lost * interval.nanos() + interval.nanos() / 2;
        world.run(until.max(world.now), |_| {});
        world.nodes[1].run = Run::Crashed;
        world.run(world.now + 3 * down(1, interval), |_| {});
        prop_assert_eq!(active(&world), 0);
        let (_, both) = world.both_since(from);
        prop_assert!(both <= lost * interval.nanos() + JITTER * lost, "{both}");
    }

    /// Orderly, the VIPs are never without a holder, and have two no longer than a packet takes.
    #[test]
    fn orderly_moves_leave_no_gap(
        seed in any::<u64>(),
        version in version(),
        priorities in priorities(),
        preempt in any::<bool>(),
        when in 0..1_000_u64,
        stop in any::<bool>(),
    ) {
        let interval = interval(version);
        let mut world = start(seed, interval, &priorities, preempt);
        settle(&mut world);
        let first = active(&world);
        world.run(world.now + when * interval.nanos() / 1_000, |_| {});
        let (from, nobody) = (world.now, world.nobody.len());
        world.give(first, if stop { Event::Stop } else { Event::HandOver });
        settle(&mut world);
        prop_assert_ne!(active(&world), first);
        prop_assert_eq!(world.nobody.len(), nobody, "a gap: {:?}", world.nobody.last());
        let (both, _) = world.both_since(from);
        prop_assert!(both <= 2 * D + spacing(interval), "{both} ns with two");
        // It takes back only what another gives up; a stopped one starts as any.
        let second = active(&world);
        if stop {
            world.give(first, Event::Start);
            settle(&mut world);
            let back = preempt && priorities[first] > priorities[second];
            prop_assert_eq!(active(&world) == first, back);
        } else {
            world.give(second, Event::HandOver);
            settle(&mut world);
            prop_assert_ne!(active(&world), second);
        }
        prop_assert_eq!(world.nobody.len(), nobody, "a gap: {:?}", world.nobody.last());
    }

    /// Without preemption, what happens to standbys moves nothing, nor does a stop of the active node that is
    /// shorter than its lease.
    #[test]
    fn without_preemption_nothing_flaps(
        seed in any::<u64>(),
        version in version(),
        priorities in priorities(),
        history in prop::collection::vec((0..3_usize, 0..4_u8, 0..900_u64), 1..20),
    ) {
        let interval = interval(version);
        let mut world = start(seed, interval, &priorities, false);
        settle(&mut world);
        let first = active(&world);
        let (take_overs, nobody) = (world.take_overs(), world.nobody.len());
        for (node, what, long) in history {
            let node = node % priorities.len();
            let long = long * interval.nanos() / 100;
            match (node == first, what) {
                (true, _) => {
                    // Less than is left of a lease that is an interval old.
                    world.nodes[node].run = Run::Stopped;
                    world.run(world.now + long % (2 * interval.nanos() - JITTER), |_| {});
                    world.go_on(node);
                }
                (false, 0) => {
                    world.nodes[node].run = Run::Stopped;
                    world.run(world.now + long, |_| {});
                    world.go_on(node);
                }
                (false, 1) => {
                    world.give(node, Event::Stop);
                    world.run(world.now + long, |_| {});
                    world.give(node, Event::Start);
                }
                (false, 2) => {
                    world.give(node, Event::Link(false));
                    world.run(world.now + long, |_| {});
                    world.give(node, Event::Link(true));
                }
                (false, _) => world.give(node, Event::Track { penalty: long as u8, fault: false }),
            }
            world.run(world.now + long, |_| {});
        }
        prop_assert_eq!(active(&world), first);
        prop_assert_eq!(world.take_overs(), take_overs);
        prop_assert_eq!(world.nobody.len(), nobody);
    }

    /// With preemption the highest priority wins, once it is in sync; the VIPs are held throughout.
    #[test]
    fn preemption_waits_for_sync_and_leaves_no_gap(
        seed in any::<u64>(),
        version in version(),
        (low, high) in (1..254_u8).prop_flat_map(|low| (Just(low), low + 1..=254)),
        out_of_sync in any::<bool>(),
        delay in 0..5_u64,
    ) {
        let interval = interval(version);
        let mut world = World::new(seed, [
            settings(0, interval, low, true),
            Settings { preempt_delay: delay * interval.nanos(), ..settings(1, interval, high, true) },
        ]);
        world.give(0, Event::Start);
        settle(&mut world);
        prop_assert_eq!(active(&world), 0);
        let nobody = world.nobody.len();
        world.give(1, Event::InSync(!out_of_sync));
        world.give(1, Event::Start);
        if out_of_sync {
            settle(&mut world);
            prop_assert_eq!(active(&world), 0);
            world.give(1, Event::InSync(true));
        }
        world.run(world.now + delay * interval.nanos(), |_| {});
        prop_assert_eq!(active(&world), 0);
        settle(&mut world);
        prop_assert_eq!(active(&world), 1);
        prop_assert_eq!(world.nobody.len(), nobody);
        let (both, _) = world.both_since(0);
        prop_assert!(both <= D, "{both} ns with two");
    }
}
