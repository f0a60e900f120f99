//! Two replicators on the loopback interface.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use lb_common::{
    abi::{Bucket, Owner, PortBucket, ipv4},
    flow::{Entry, State, Tick},
};

use super::{
    Discard, Ending, Limits, MILLISECOND, Refusal, Replicator, Role, Setup, Status, Tables, Told,
    relay::Relay,
    seal::MOST,
    simulation::{Faults, TIMEOUTS, difference, key, roster, terms},
    wire::{Difference, Terms},
};
use crate::datapath::memory::Shared;

const FLOWS: usize = 1 << 18;
/// How much higher the second node's numbers are.
const OFFSET: u16 = 100;
/// The nodes' ticks, which stand still.
const TICKS: [Tick; 2] = [200, 77];

/// An address of this process alone, and a port of its own for each call.
fn address() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let process = 0x7f40_0000 | std::process::id() & 0x3f_ffff;
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    (Ipv4Addr::from(process), port).into()
}

/// Until it is so.
fn wait(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::park_timeout(Duration::from_micros(200));
    }
    start.elapsed()
}

/// A node.
struct Node {
    number: usize,
    listen: SocketAddr,
    peer: SocketAddr,
    terms: Terms,
    limits: Limits,
    key: u8,
    flows: Arc<Shared<Bucket>>,
    ports: Arc<Shared<PortBucket>>,
    told: Arc<Mutex<Vec<Told>>>,
    replicator: Option<Replicator>,
}

impl Node {
    fn new(number: usize, listen: SocketAddr, peer: SocketAddr) -> Self {
        Node {
            number,
            listen,
            peer,
            terms: terms(FLOWS as u64),
            limits: Limits::sized(FLOWS),
            key: 2,
            flows: Arc::new(Shared::zeroed((FLOWS / 8) as u32)),
            ports: Arc::new(Shared::zeroed(64)),
            told: Arc::default(),
            replicator: None,
        }
    }

    fn roster(&self, backends: u16) -> super::Roster {
        roster(OFFSET * self.number as u16, backends)
    }

    fn start(&mut self, role: Role) {
        self.replicator = None;
        let told = Arc::clone(&self.told);
        let tick = TICKS[self.number];
        let setup = Setup {
            key: key(self.key),
            listen: self.listen,
            peer: self.peer,
            terms: self.terms,
            timeouts: TIMEOUTS,
            limits: self.limits,
            roster: self.roster(9),
            flows: Arc::clone(&self.flows),
            ports: Arc::clone(&self.ports),
            tick: Box::new(move || tick),
        };
        let told = move |what| told.lock().expect("not poisoned").push(what);
        let replicator = Replicator::start(setup, told).expect("started");
        replicator.set_role(role);
        self.replicator = Some(replicator);
    }

    fn replicator(&self) -> &Replicator {
        self.replicator.as_ref().expect("started")
    }

    fn status(&self) -> Status {
        self.replicator().status()
    }

    fn tables(&self) -> Tables<'_> {
        Tables::new(&self.flows, &self.ports)
    }

    fn told(&self, what: Told) -> bool {
        self.told.lock().expect("not poisoned").contains(&what)
    }

    fn word(&self, slot: usize) -> u64 {
        self.flows.words()[slot].load(Ordering::Relaxed)
    }

    /// A flow of the node's own numbers.
    fn open(&self, slot: usize, backend: u16) {
        let backend = backend + OFFSET * self.number as u16;
        let entry = Entry::new(
            slot as u64 | 1 << 30,
            backend,
            TICKS[self.number],
            State::Established,
        );
        self.flows.words()[slot].store(entry.bits(), Ordering::Relaxed);
    }

    /// A flow with a port of the pool's.
    fn open_port(&self, slot: usize, backend: u16) {
        let (bucket, place) = ((slot / 8) as u32, slot % 8);
        let mut record = self.ports.load(bucket);
        let number = backend + OFFSET * self.number as u16;
        let tick = TICKS[self.number];
        record.entries[place] = Entry::new(slot as u64, number, tick, State::Established).bits();
        record.owners[place] = Owner {
            client: ipv4([192, 0, 2, slot as u8]),
            client_port: 4_000 + slot as u16,
            vip_port: 80,
            service: u32::from(backend % 4 + OFFSET * self.number as u16),
        };
        self.ports.store(bucket, &record);
    }
}

/// Whether the second node's tables are the first one's, or the other way round.
fn is_same(from: &Node, to: &Node) -> bool {
    let offset = OFFSET
        .wrapping_mul(to.number as u16)
        .wrapping_sub(OFFSET * from.number as u16);
    let ticks = (TICKS[from.number], TICKS[to.number]);
    difference(&from.tables(), &to.tables(), ticks, offset).is_none()
}

fn pair() -> [Node; 2] {
    let (first, second) = (address(), address());
    [Node::new(0, first, second), Node::new(1, second, first)]
}

fn start([active, standby]: &mut [Node; 2]) {
    active.start(Role::Active);
    standby.start(Role::Standby);
}

fn wait_for_sync([active, standby]: &[Node; 2]) -> Duration {
    let both = || standby.status().in_sync && active.status().in_sync;
    let took = wait("in sync", both);
    wait("the same", || is_same(active, standby));
    took
}

/// Tables are compared once a second here, so what is there within 100 ms was told at once.
#[test]
fn a_standby_that_is_to_take_over_catches_up() {
    let mut pair = pair();
    for node in &mut pair {
        node.limits.pass_every = 1_000 * MILLISECOND;
        node.limits.sync_within = 10_000 * MILLISECOND;
    }
    start(&mut pair);
    wait_for_sync(&pair);
    let [active, standby] = &pair;
    let is_idle = || active.status().lag > Some(Duration::from_millis(50));
    wait("comparing pauses", is_idle);
    for slot in [5, 70_000, FLOWS - 1] {
        active.open(slot, 3);
    }
    active.replicator().catch_up();
    assert!(is_same(active, standby), "the standby has caught up");
    // What comes next is told at once, too.
    active.open(1_234, 3);
    wait("told", || is_same(active, standby));
}

/// Nobody is waited for where nobody follows.
#[test]
fn without_a_standby_there_is_nothing_to_wait_for() {
    let [mut active, mut standby] = pair();
    active.start(Role::Active);
    let start = Instant::now();
    active.replicator().catch_up();
    standby.start(Role::Standby);
    standby.replicator().catch_up();
    assert!(start.elapsed() < Duration::from_millis(100));
}

#[test]
fn a_hundred_thousand_flows_and_then_each_change() {
    let mut pair = pair();
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
    assert!(!pair[0].status().in_sync && pair[0].status().connected.is_none());
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

#[test]
fn who_differs_is_refused_and_named_by_both() {
    let ours = terms(FLOWS as u64);
    let (theirs, slots) = (2 * FLOWS as u64, FLOWS as u64);
    let configuration = Refusal::Configuration;
    let cases = [
        (3, ours, [Refusal::Key; 2]),
        (
            2,
            terms(theirs),
            [(theirs, slots), (slots, theirs)]
                .map(|(theirs, ours)| configuration(Difference::FlowSlots { theirs, ours })),
        ),
        (
            2,
            Terms { pool: 9, ..ours },
            [configuration(Difference::Pool); 2],
        ),
        (
            2,
            Terms {
                pool_addresses: [1; 16],
                ..ours
            },
            [configuration(Difference::PoolAddresses); 2],
        ),
    ];
    for (key, terms, expected) in cases {
        let mut pair = pair();
        pair[0].open(5, 4);
        (pair[1].key, pair[1].terms) = (key, terms);
        start(&mut pair);
        for (node, refusal) in pair.iter().zip(expected) {
            wait("refused", || node.told(Told::Refused(refusal)));
            wait("shown", || {
                node.status().refused.is_some_and(|(why, _)| why == refusal)
            });
            let counts = || {
                node.status()
                    .discarded
                    .labelled()
                    .map(|(_, count)| count)
                    .sum::<u64>()
            };
            wait("counted", || counts() > 0);
            assert!(node.status().connected.is_none() && !node.status().in_sync);
        }
        assert_eq!(pair[1].word(5), 0);
    }
}

fn relayed() -> ([Node; 2], Relay) {
    let [first, second, to_first, to_second] = std::array::from_fn(|_| address());
    let relay = Relay::new([first, second], [to_first, to_second], 7);
    let pair = [
        Node::new(0, first, to_first),
        Node::new(1, second, to_second),
    ];
    (pair, relay)
}

#[test]
fn a_bad_network_delays_but_spoils_nothing() {
    let (mut pair, relay) = relayed();
    relay.set(Faults {
        lost: 20,
        doubled: 10,
        delay: 12,
        ..Faults::default()
    });
    (0..20_000).for_each(|flow| pair[0].open(flow * 13, 4));
    start(&mut pair);
    let took = wait_for_sync(&pair);
    println!(
        "in sync after {took:?}, {} bytes",
        pair[0].status().sent.bytes
    );
    for flow in 0..2_000 {
        pair[0].open(flow * 13, (flow % 9) as u16 + 1);
        pair[0].flows.words()[200_000 + flow].store(0, Ordering::Relaxed);
        pair[0].open(100_003 + flow, 2);
    }
    let took = wait("the same", || is_same(&pair[0], &pair[1]));
    println!("4,000 changes after {took:?}");
    assert!(pair[1].status().discarded.of(Discard::Replayed) > 0);
    // Nothing comes through at all: both see it.
    relay.set(Faults {
        lost: 100,
        ..Faults::default()
    });
    for node in &pair {
        wait("silence", || node.told(Told::Disconnected(Ending::Silence)));
    }
    pair[0].open(100_000, 5);
    relay.set(Faults::default());
    wait_for_sync(&pair);
}

#[test]
fn garbage_and_repetition_change_nothing_and_are_counted() {
    let (mut pair, relay) = relayed();
    (0..5_000).for_each(|flow| pair[0].open(flow * 13, 4));
    start(&mut pair);
    wait_for_sync(&pair);
    let recorded = relay.recorded();
    let told = pair
        .each_ref()
        .map(|node| node.told.lock().expect("not poisoned").len());
    let junk = |kind: u8, length| {
        let mut datagram = vec![kind; length];
        datagram[..4].copy_from_slice(&[b'F', b'R', 1, kind]);
        datagram
    };
    let mut flood = recorded.clone();
    for (at, (end, datagram)) in recorded.iter().enumerate() {
        let mut forged = datagram.clone();
        let bit = at * 7_919 % (forged.len() * 8);
        forged[bit / 8] ^= 1 << (bit % 8);
        flood.push((*end, forged));
    }
    for end in 0..2 {
        flood.extend((0..1_000).map(|at| (end, junk((at % 6) as u8, 44 + at))));
        flood.extend((0..100).map(|at| (end, vec![9; at * 3])));
        flood.push((end, junk(3, MOST + 1)));
        flood.push((end, junk(4, 9_000)));
    }
    let received = |node: &Node| node.status().received.datagrams;
    let all = |node: &Node| {
        node.status()
            .discarded
            .labelled()
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    for (end, datagram) in flood {
        // One after the other, so that none is lost in a full buffer.
        let before = received(&pair[end]);
        relay.inject(end, &datagram);
        wait("received", || received(&pair[end]) > before);
    }
    for node in &pair {
        let discarded = node.status().discarded;
        println!("{:?} of {}", discarded, received(node));
        for why in [
            Discard::Malformed,
            Discard::Oversized,
            Discard::Unauthentic,
            Discard::Replayed,
            Discard::OtherSession,
            Discard::Unexpected,
        ] {
            assert!(discarded.of(why) > 0, "{why:?} at node {}", node.number);
        }
        assert!(all(node) > 1_100);
    }
    assert!(is_same(&pair[0], &pair[1]));
    pair[0].open(70_001, 6);
    wait("the same", || is_same(&pair[0], &pair[1]));
    // No session ended. (A busy machine may be out of sync for a moment, with or without a flood.)
    for (node, before) in pair.iter().zip(told) {
        let told = node.told.lock().expect("not poisoned")[before..].to_vec();
        let is_change = |what: &Told| matches!(what, Told::Connected | Told::Disconnected(_));
        assert!(!told.iter().any(is_change), "{told:?}");
        assert!(told.contains(&Told::Refused(Refusal::Key)), "{told:?}");
    }
}

#[test]
fn strangers_are_not_heard() {
    let [mut node, other] = pair();
    node.start(Role::Standby);
    // The greeting shows that the socket is connected.
    let peer = UdpSocket::bind(other.listen).expect("a free address");
    wait("a greeting", || peer.recv(&mut [0; 2_048]).is_ok());
    let stranger = UdpSocket::bind(address()).expect("a free address");
    for _ in 0..100 {
        stranger
            .send_to(b"a stranger's", node.listen)
            .expect("sent");
    }
    peer.send_to(b"the peer's", node.listen).expect("sent");
    wait("the peer's", || node.status().received.datagrams > 0);
    let status = node.status();
    assert_eq!(status.received.datagrams, 1);
    assert_eq!(status.discarded.of(Discard::Malformed), 1);
}

#[test]
fn what_cant_start_says_why() {
    let [mut node, _] = pair();
    let _taken = UdpSocket::bind(node.listen).expect("a free address");
    let setup = |listen, peer| Setup {
        key: key(2),
        listen,
        peer,
        terms: terms(64),
        timeouts: TIMEOUTS,
        limits: Limits::default(),
        roster: roster(0, 1),
        flows: Arc::new(Shared::zeroed(8)),
        ports: Arc::new(Shared::zeroed(0)),
        tick: Box::new(|| 0),
    };
    let error = |listen, peer| match Replicator::start(setup(listen, peer), |_| {}) {
        Ok(_) => panic!("started"),
        Err(error) => error.to_string(),
    };
    let text = error(node.listen, node.peer);
    assert!(
        text.contains(&node.listen.to_string()) && text.contains("nobody else uses"),
        "{text}"
    );
    let text = error("[::1]:0".parse().expect("an address"), node.peer);
    assert!(text.contains("same IP version"), "{text}");
    // No way to the peer (nobody may send to everybody): it starts all the same, and says so.
    node.listen = address();
    node.peer = "255.255.255.255:5151".parse().expect("an address");
    node.start(Role::Standby);
    wait("trouble", || node.status().trouble.is_some());
    assert_eq!(node.status().sent.datagrams, 0);
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
