//! What a runner makes of packets that no peer would send, and of a busy machine.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    net::{AddressFamily, Protocol, SendFlags, SocketType, bind, sendto, socket, sockopt},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::{
    Convention, GroupStatus, Interval, MAX_MESSAGE, Nanos, PROTOCOL, Packet, PacketError, Reason,
    State, Version,
    group::clock,
    runner_testbed::{Node, VRID, Way, ifindex},
    socket::GROUP,
};
use crate::{
    net::testbed::{DEADLINE, Namespace, two_hosts},
    realtime,
};

/// Someone on the link with a raw socket.
struct Forger {
    socket: OwnedFd,
    from: IpAddr,
    to: IpAddr,
    scope: u32,
}

impl Forger {
    fn new(namespace: &Namespace, from: IpAddr, to: IpAddr) -> Self {
        let scope = ifindex(namespace);
        let family = if from.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let protocol = Protocol::from_raw(u32::from(PROTOCOL).try_into().expect("not 0"));
        let socket = namespace
            .enter(|| socket(family, SocketType::RAW, Some(protocol)))
            .expect("a raw socket");
        let forger = Self {
            socket,
            from,
            to,
            scope,
        };
        bind(&forger.socket, &forger.scoped(from)).expect("an address of its own");
        forger.set_hop_limit(255);
        forger
    }

    fn scoped(&self, address: IpAddr) -> SocketAddr {
        match address {
            IpAddr::V4(_) => SocketAddr::new(address, 0),
            IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, self.scope).into(),
        }
    }

    fn set_hop_limit(&self, hops: u8) {
        if self.from.is_ipv4() {
            sockopt::set_ip_ttl(&self.socket, hops.into()).expect("a TTL");
            sockopt::set_ip_multicast_ttl(&self.socket, hops.into()).expect("a TTL");
        } else {
            sockopt::set_ipv6_unicast_hops(&self.socket, Some(hops)).expect("a hop limit");
        }
    }

    fn send(&self, message: &[u8]) {
        let to = self.scoped(self.to);
        sendto(&self.socket, message, SendFlags::empty(), &to).expect("it is sent");
    }

    /// An advertisement that would take everything over.
    fn advert(&self, vrid: u8, way: Way) -> Vec<u8> {
        let packet = Packet {
            vrid,
            priority: 255,
            interval: way.interval(),
            addresses: vec![way.vip()],
        };
        let mut buffer = [0; MAX_MESSAGE];
        let convention = Convention::PseudoHeader;
        let encoded = packet.encode(self.from, self.to, convention, &mut buffer);
        encoded.expect("it fits").to_vec()
    }
}

fn discarded(status: &GroupStatus) -> Vec<(&'static str, u64)> {
    let counts = PacketError::LABELS.into_iter().zip(status.discarded);
    counts.filter(|&(_, count)| count > 0).collect()
}

fn active(namespace: &Namespace, way: Way) -> Node {
    let node = Node::start(namespace, way, 1, 100);
    assert_eq!(node.becomes(State::Active), Reason::Silence);
    node
}

/// Nothing that was sent to it moved it.
fn stands(node: &Node) -> GroupStatus {
    let status = node.status();
    assert_eq!((status.state, status.transitions), (State::Active, 2));
    assert_eq!((status.received, status.active), (0, None));
    status
}

#[test]
fn broken_packets_are_counted_and_change_nothing() {
    let way = Way::PLAIN;
    let (here, there) = two_hosts();
    let node = active(&here, way);
    there.ip("route add 224.0.0.18/32 dev eth0");
    let forger = Forger::new(&there, way.address(11), GROUP.into());
    let good = forger.advert(VRID, way);
    let broken = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    let mut sent = 0;
    let mut send = |message: &[u8]| {
        forger.send(message);
        sent += 1;
    };
    send(&broken(2, 254));
    send(&broken(0, 0x21));
    send(&broken(0, 0x32));
    send(&good[..good.len() - 1]);
    send(&[]);
    // In fragments, which the kernel puts together.
    there.ip("link set eth0 mtu 1400");
    send(&[0x31; 5000]);
    forger.set_hop_limit(254);
    send(&good);
    forger.set_hop_limit(255);
    forger.send(&forger.advert(VRID + 1, way));

    node.until(|status| status.discarded.iter().sum::<u64>() == sent);
    let expected = [
        ("hop_limit", 1),
        ("length", 2),
        ("version", 1),
        ("type", 1),
        ("checksum", 1),
        ("oversized", 1),
    ];
    assert_eq!(discarded(&stands(&node)), expected);
    // That it was heard at all: the same unbroken.
    forger.send(&good);
    assert!(matches!(
        node.becomes(State::Standby),
        Reason::Outranked { priority: 255, .. }
    ));
}

#[test]
fn strangers_and_wrong_ways_are_counted_and_change_nothing() {
    let unicast = Way {
        multicast: false,
        ..Way::PLAIN
    };
    let (here, there) = two_hosts();
    let node = active(&here, unicast);
    there.ip("address add 10.0.0.12/24 dev eth0");
    let stranger = Forger::new(&there, IpAddr::from([10, 0, 0, 12]), unicast.address(1));
    stranger.send(&stranger.advert(VRID, unicast));
    node.until(|status| status.discarded.iter().sum::<u64>() == 1);
    assert_eq!(discarded(&stands(&node)), [("stranger", 1)]);

    let multicast = Way::ALL[4];
    let node = active(&here, multicast);
    let direct = Forger::new(&there, multicast.address(11), multicast.address(1));
    direct.send(&direct.advert(VRID, multicast));
    node.until(|status| status.discarded.iter().sum::<u64>() == 1);
    assert_eq!(discarded(&stands(&node)), [("destination", 1)]);
}

#[test]
fn a_flood_keeps_no_advertisement_from_being_sent() {
    const AT_ONCE: u64 = 1_000;
    let way = Way {
        multicast: false,
        ..Way::PLAIN
    };
    let (here, there) = two_hosts();
    let node = active(&here, way);
    there.ip("address add 10.0.0.12/24 dev eth0");
    let stranger = Forger::new(&there, IpAddr::from([10, 0, 0, 12]), way.address(1));
    let message = stranger.advert(VRID, way);
    let sent = node.status().sent;
    let (mut packets, end) = (0, Instant::now() + DEADLINE);
    // It doesn't end before advertisements have been sent.
    while node.status().sent <= sent + 3 {
        assert!(Instant::now() < end, "not within {DEADLINE:?}");
        (0..AT_ONCE).for_each(|_| stranger.send(&message));
        packets += AT_ONCE;
    }
    let status = stands(&node);
    assert!(status.discarded.iter().sum::<u64>() > 0);
    println!(
        "{packets} packets, {:?} read; the latest advertisement was {} µs late (real time: {})",
        discarded(&status),
        status.latest / 1000,
        status.realtime
    );
}

const TEN: Duration = Duration::from_millis(10);

/// Keeps time on that CPU as a node does until the `end`; how late it was at most, and whether it may be
/// a real-time thread.
fn keep_time(cpu: usize, end: &AtomicBool) -> (Nanos, bool) {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).expect("one of ours");
    let realtime = realtime::urgent();
    let mut latest = 0;
    while !end.load(Ordering::Relaxed) {
        let began = clock();
        std::thread::sleep(TEN / 10);
        latest = latest.max(clock() - began);
    }
    (latest, realtime)
}

fn send_300(namespace: &Namespace) -> GroupStatus {
    let node = Node::start_with(namespace, Way::PLAIN, 1, 100, |setup| {
        setup.settings.interval = Interval::new(Version::V3, TEN).expect("an interval");
    });
    assert_eq!(node.becomes(State::Active), Reason::Silence);
    let sent = node.status().sent;
    node.until(|status| status.sent > sent + 300)
}

#[test]
fn advertisements_keep_time_while_others_compute() {
    let (here, _there) = two_hosts();
    let end = AtomicBool::new(false);
    let cpus = sched_getaffinity(None).expect("known");
    let (status, witnesses) = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let ours = (0..CpuSet::MAX_CPU).filter(|&cpu| cpus.is_set(cpu));
        let witnesses: Vec<_> = ours
            .map(|cpu| {
                scope.spawn({
                    let end = &end;
                    move || keep_time(cpu, end)
                })
            })
            .collect();
        // Also if the wait fails: the threads would never end.
        let work = || send_300(&here);
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        end.store(true, Ordering::Relaxed);
        let ended = witnesses
            .into_iter()
            .map(|witness| witness.join().expect("it has kept time"));
        let ended: Vec<_> = ended.collect();
        (waited.expect("it sends"), ended)
    });
    let stalled = witnesses.iter().map(|&(latest, _)| latest).max();
    println!(
        "300 advertisements at 10 ms: the latest was {} µs late (real time: {}), others {stalled:?} ns",
        status.latest / 1000,
        status.realtime
    );
    let realtime = witnesses.iter().all(|&(_, realtime)| realtime);
    assert_eq!(status.realtime, realtime, "it runs as urgently as it may");
    let moves = &status.last_transitions;
    if stalled.is_some_and(|stalled| u128::from(stalled) < TEN.as_nanos()) {
        assert_eq!((status.state, moves.len()), (State::Active, 2), "{moves:?}");
    }
    // No thread keeps time on a machine that stands still, and then only this may come of it.
    let own = [Reason::Started, Reason::Silence, Reason::LeaseRanOut];
    assert!(moves.iter().all(|m| own.contains(&m.reason)), "{moves:?}");
}
