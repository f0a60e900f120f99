//! New connections are told while somebody watches, each once, and nothing else is.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use flowgate::datapath::{Ring, Switch};
use lb_common::{
    abi::{Address, BackendState, Keeping, Opened, Watch, window},
    limits,
    verdict::Verdict,
    wheel::{Index, Slot},
};
use rustix::thread::sched_getcpu;

use crate::{
    frame::Frame,
    modes::{self, VERSIONS, backend, client, open_vip, vip},
    packet::Packet,
    pool::{PORT, client as pooled_client, pool_with, tcp},
    rig::{Rig, identity, stay_on},
    row::Bytes as _,
    site::{self, TCP, UDP, VIP, monotonic_ns},
};

/// Far longer than a test takes.
const HOUR: Duration = Duration::from_secs(3_600);

/// Watches the program of a rig.
struct Watcher {
    switch: Switch,
    ring: Ring,
}

/// The rig's watcher, which isn't given back with it: so the rig must not be lent.
fn watched(rig: &mut Rig) -> Watcher {
    Watcher {
        switch: Switch::open(&mut rig.object).expect("the switch"),
        ring: Ring::open(&mut rig.object).expect("the ring"),
    }
}

/// A site of its own.
fn site() -> (Rig, Watcher) {
    let mut rig = Rig::with(identity());
    site::fill(&mut rig);
    let watcher = watched(&mut rig);
    (rig, watcher)
}

impl Watcher {
    fn watch(&mut self, most: u64, services: &[u32]) {
        let mut watch = Watch {
            until: monotonic_ns() + HOUR.as_nanos() as u64,
            most,
            ..Watch::OFF
        };
        if services.is_empty() {
            watch.services = Watch::ALL;
        }
        services.iter().for_each(|&service| watch.add(service));
        self.switch.set(&watch);
    }

    fn told(&mut self) -> Vec<Opened> {
        self.ring.by_ref().collect()
    }

    fn untold(&self) -> u64 {
        self.switch.untold().expect("the counts")
    }
}

fn ip(words: Address, family: u8) -> IpAddr {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    match family {
        0 => {
            assert_eq!(words[1..], [0; 3]);
            IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).expect("four bytes"))
        }
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).expect("sixteen bytes")),
    }
}

fn ends(opened: &Opened) -> (SocketAddr, SocketAddr) {
    let end = |words, port: u16| (ip(words, opened.family), u16::from_be(port)).into();
    (
        end(opened.client, opened.client_port),
        end(opened.vip, opened.vip_port),
    )
}

/// Of each mode a service, two of port ranges among them.
const PORTS: [u16; 10] = [80, 81, 90, 70, 60, 61, 62, 63, 7_010, 7_210];

fn packet(protocol: u8, from: SocketAddr, to: SocketAddr, first: bool) -> Packet {
    match (protocol, first) {
        (TCP, true) => Packet::tcp(from, to, "S"),
        (TCP, false) => Packet::tcp(from, to, "PA").payload(b"more"),
        _ => Packet::udp(from, to, b"?"),
    }
}

fn services_port(port: u16) -> u16 {
    match port {
        7_000..7_050 => 7_000,
        7_200..7_300 => 7_200,
        port => port,
    }
}

#[test]
fn a_new_flow_of_every_mode_is_told_once_and_a_known_one_never() {
    let (mut rig, mut watcher) = site();
    watcher.watch(1_000_000, &[]);
    let mut tested = 0;
    for six in VERSIONS {
        for protocol in [TCP, UDP] {
            for (n, port) in PORTS.into_iter().enumerate() {
                // A range of TCP alone.
                if port == 7_010 && protocol == UDP {
                    continue;
                }
                let (from, to) = (client(six, 5_000 + n as u16), vip(six, port));
                let before = monotonic_ns();
                for first in [true, false, false] {
                    let sent = rig.send(&packet(protocol, from, to, first).wire());
                    let expected = if first {
                        Verdict::ForwardNew
                    } else {
                        Verdict::ForwardKnown
                    };
                    assert_eq!(sent.verdict, expected, "{from} {to} {protocol}");
                }
                let told = watcher.told();
                let [opened] = told[..] else {
                    panic!("{from} {to} {protocol}: {told:?}");
                };
                assert_eq!(ends(&opened), (from, to));
                assert_eq!(opened.protocol, protocol);
                assert_eq!(opened.family, six as u8);
                assert_eq!(
                    opened.backend,
                    backend(six, services_port(port), protocol),
                    "{to}"
                );
                assert!((before..=monotonic_ns()).contains(&opened.at));
                assert_eq!(opened.reserved, [0; 6]);
                tested += 1;
            }
            let (from, to) = (client(six, 9_000), open_vip(six, 4_321));
            rig.send(&packet(protocol, from, to, true).wire());
            let told = watcher.told();
            assert_eq!(told.len(), 1);
            assert_eq!(ends(&told[0]), (from, to), "a service of all ports");
            assert_eq!(told[0].backend, modes::any_port(six, protocol));
        }
    }
    assert_eq!(tested, 38);
    assert_eq!(watcher.untold(), 0);
}

/// What isn't plain takes another way.
#[test]
fn a_new_flow_with_ip_options_is_told_too() {
    let (mut rig, mut watcher) = site();
    watcher.watch(1_000, &[]);
    for port in [80, 90, 70, 60] {
        let from = client(false, 6_000 + port);
        let syn = Packet::tcp(from, vip(false, port), "S").options(&[1, 1, 1, 0]);
        assert_eq!(rig.send(&syn.wire()).verdict, Verdict::ForwardNew);
        let told = watcher.told();
        assert_eq!(told.len(), 1, "{port}");
        assert_eq!(ends(&told[0]), (from, vip(false, port)));
    }
}

#[test]
fn what_goes_nowhere_and_what_opens_nothing_is_not_told() {
    let (mut rig, mut watcher) = site();
    watcher.watch(1_000, &[]);
    for six in VERSIONS {
        for (port, flags, verdict) in [
            (modes::NOBODY_PORT, "S", Verdict::DropNoBackend),
            (6_666, "S", Verdict::DropClosedPort),
            (80, "PA", Verdict::ForwardAdopted),
            (90, "R", Verdict::ForwardUntracked),
        ] {
            let packet = Packet::tcp(client(six, 7_000), vip(six, port), flags);
            assert_eq!(rig.send(&packet.wire()).verdict, verdict, "{port}");
        }
    }
    assert_eq!((watcher.told(), watcher.untold()), (vec![], 0));
}

/// A service of its own over these backends.
fn pooled(wheel: &[u16]) -> (Rig, Watcher) {
    let mut rig = pool_with(identity(), wheel);
    let watcher = watched(&mut rig);
    (rig, watcher)
}

#[test]
fn a_client_that_uses_its_port_again_is_told_again() {
    let (mut rig, mut watcher) = pooled(&[1, 2]);
    watcher.watch(1_000, &[]);
    let me = pooled_client(1);
    for flags in ["S", "S", "A", "FA", "A"] {
        tcp(&mut rig, me, flags);
    }
    assert_eq!(
        watcher.told().len(),
        1,
        "a SYN sent twice is one connection"
    );
    assert_eq!(tcp(&mut rig, me, "S"), (Verdict::ForwardNew, 2));
    let told = watcher.told();
    assert_eq!((told.len(), told[0].backend), (1, 2));
    // Its backend goes: a packet of it moves and opens nothing, a SYN is a new one.
    rig.state(2, BackendState::Down);
    assert_eq!(tcp(&mut rig, me, "A").0, Verdict::ForwardMoved);
    assert_eq!(watcher.told(), vec![]);
}

#[test]
fn flows_that_nobody_remembers_are_told_by_their_syn() {
    let (mut rig, mut watcher) = pooled(&[1]);
    watcher.watch(1_000, &[]);
    let place = (IpAddr::from(VIP), 90, TCP);
    rig.service_at(place, Keeping::Changes, Index::Hash, &[1]);
    let send = |rig: &mut Rig, n, flags: &str| {
        let sent = rig.send(&Frame::tcp(pooled_client(n), (VIP, 90), flags).wire());
        (sent.verdict, sent.backend())
    };
    assert_eq!(send(&mut rig, 1, "S"), (Verdict::ForwardNew, 1));
    assert_eq!(send(&mut rig, 1, "A"), (Verdict::ForwardStable, 1));
    assert_eq!(watcher.told().len(), 1);
    rig.places(place, &[Slot::moving(2, 1)]);
    assert_eq!(send(&mut rig, 2, "PA"), (Verdict::ForwardAdopted, 1));
    assert_eq!(watcher.told(), vec![]);
    assert_eq!(send(&mut rig, 3, "S"), (Verdict::ForwardNew, 2));
    assert_eq!(send(&mut rig, 3, "A"), (Verdict::ForwardKnown, 2));
    let told = watcher.told();
    assert_eq!((told.len(), told[0].backend), (1, 2));
}

#[test]
fn nobody_who_watches_is_told_nothing() {
    let (mut rig, mut watcher) = pooled(&[1]);
    let mut n = 0;
    let mut open = |rig: &mut Rig| {
        n += 1;
        assert_eq!(tcp(rig, pooled_client(n), "S").0, Verdict::ForwardNew);
    };
    open(&mut rig);
    assert_eq!((watcher.told(), watcher.untold()), (vec![], 0));
    watcher.watch(1_000, &[]);
    open(&mut rig);
    assert_eq!(watcher.told().len(), 1);
    watcher.switch.set(&Watch::OFF);
    open(&mut rig);
    // One that is dead has let its time pass: the program sees to it that it costs nothing.
    let dead = Watch {
        until: monotonic_ns() - 1,
        most: 1_000,
        services: Watch::ALL,
    };
    watcher.switch.set(&dead);
    open(&mut rig);
    assert_eq!((watcher.told(), watcher.untold()), (vec![], 0));
    assert_eq!(watcher.switch.get().until, 0);
}

#[test]
fn services_that_nobody_asked_for_are_not_told() {
    let (mut rig, mut watcher) = pooled(&[1]);
    let mut backend = rig.tables.backends.load(1);
    backend.service = 1_234;
    rig.backend(1, &backend);
    watcher.watch(1_000, &[0, 1_233, 1_235, limits::MAX_SERVICES - 1]);
    tcp(&mut rig, pooled_client(1), "S");
    assert_eq!((watcher.told(), watcher.untold()), (vec![], 0));
    watcher.watch(1_000, &[1_234]);
    tcp(&mut rig, pooled_client(2), "S");
    let told = watcher.told();
    assert_eq!((told.len(), told[0].service), (1, 1_234));
}

/// Connections of a flood.
const FLOOD: u32 = 20_000;

#[test]
fn a_flood_is_told_to_its_bound_and_the_rest_is_counted() {
    const MOST: u64 = 50;
    let (mut rig, mut watcher) = pooled(&[1, 2, 3]);
    stay_on(sched_getcpu());
    watcher.watch(MOST, &[]);
    let begun = monotonic_ns();
    let verdicts = flood(&mut rig);
    let windows = window(monotonic_ns()) - window(begun) + 1;
    let told = watcher.told().len() as u64;
    assert!(told >= MOST && told <= MOST * windows, "{told}");
    assert_eq!(told + watcher.untold(), verdicts);
}

/// Nobody reads: the ring fills up, packets go on, and what was lost is counted.
#[test]
fn a_full_ring_loses_what_it_has_no_room_for_and_says_so() {
    let (mut rig, mut watcher) = pooled(&[1, 2, 3]);
    watcher.watch(u64::MAX, &[]);
    let verdicts = flood(&mut rig);
    // Each record has a head of 8 bytes.
    let room = u64::from(limits::WATCH_RING) / (size_of::<Opened>() as u64 + 8);
    let told = watcher.told().len() as u64;
    assert!(told <= room && told > room * 9 / 10, "{told} of {room}");
    assert_eq!(told + watcher.untold(), verdicts);
    tcp(&mut rig, pooled_client(FLOOD + 1), "S");
    assert_eq!(watcher.told().len(), 1, "there is room again");
}

/// New flows of many clients; how many of them there were.
fn flood(rig: &mut Rig) -> u64 {
    for n in 0..FLOOD {
        rig.run(&Frame::tcp(pooled_client(n), (VIP, PORT), "S").bytes());
    }
    let risen = rig.risen();
    let new = risen
        .iter()
        .find(|(verdict, _)| *verdict == Verdict::ForwardNew);
    let new = new.map_or(0, |&(_, count)| count);
    assert!(new > u64::from(FLOOD) / 2, "{risen:?}");
    new
}
