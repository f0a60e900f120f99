//! Services that remember flows only while their place in the wheel changes hands.

use lb_common::{
    abi::{BackendState, Keeping},
    verdict::Verdict::{
        self, DropNoBackend, ForwardAdopted, ForwardError, ForwardKnown, ForwardMoved, ForwardNew,
        ForwardStable, ForwardUntracked,
    },
    wheel::{Index, Slot},
};

use crate::{
    frame::{Frame, Socket},
    pool::{client, pool},
    rig::{Lent, Rig, XDP_TX},
    row::{Row, row},
    site::{CLIENT, OWN, TCP, UDP, VIP, mac_of},
};

/// Of the services in question.
const PORT: u16 = 90;

/// What a service of one backend does in a stable place.
pub fn rows() -> Vec<Row> {
    let tcp = |port, flags| Frame::tcp((CLIENT, port), (VIP, 60_086), flags);
    let out = |frame: &Frame| frame.clone().macs(OWN, mac_of(1));
    let (syn, ack, fin) = (tcp(1, "S"), tcp(2, "A"), tcp(3, "FA"));
    vec![
        row("a SYN in a stable place", syn.clone()).forwards(ForwardNew, XDP_TX, 1, out(&syn)),
        row("what no SYN came before", ack.clone()).forwards(ForwardStable, XDP_TX, 1, out(&ack)),
        row("the end of a connection", fin.clone()).forwards(ForwardStable, XDP_TX, 1, out(&fin)),
    ]
}

/// A rig with such a service of TCP and of UDP, whose backends are the pool's.
fn service(index: Index, wheel: &[Slot]) -> Lent {
    let mut rig = pool(&[1]);
    for protocol in [TCP, UDP] {
        rig.service_at((VIP.into(), PORT, protocol), Keeping::Changes, index, &[]);
        rig.places((VIP.into(), PORT, protocol), wheel);
    }
    rig
}

fn becomes(rig: &mut Rig, wheel: &[Slot]) {
    rig.places((VIP.into(), PORT, TCP), wheel);
    rig.places((VIP.into(), PORT, UDP), wheel);
}

/// Sends a segment of a client's: verdict, and the backend that it went to, as it was but
/// for its MAC addresses.
fn tcp(rig: &mut Rig, client: Socket, flags: &str) -> (Verdict, u16) {
    went(rig, &Frame::tcp(client, (VIP, PORT), flags))
}

/// Sends a datagram of a client's.
fn udp(rig: &mut Rig, client: Socket) -> (Verdict, u16) {
    went(rig, &Frame::udp(client, (VIP, PORT), b"?"))
}

fn went(rig: &mut Rig, frame: &Frame) -> (Verdict, u16) {
    let sent = rig.send(&frame.bytes());
    let backend = sent.backend();
    assert_eq!(sent.action, XDP_TX);
    assert_eq!(sent.bytes, frame.clone().macs(OWN, mac_of(backend)).bytes());
    (sent.verdict, backend)
}

fn knows(rig: &Rig, client: Socket) -> bool {
    rig.entry(client, PORT, TCP).is_some()
}

#[test]
fn a_stable_place_needs_no_memory() {
    let wheel: Vec<Slot> = (1..=8).map(Slot::stable).collect();
    let mut rig = service(Index::Hash, &wheel);
    let mut seen = [0; 9];
    for n in 0..200 {
        let (verdict, backend) = tcp(&mut rig, client(n), "S");
        assert_eq!(verdict, ForwardNew);
        for flags in ["A", "PA", "FA", "R"] {
            assert_eq!(tcp(&mut rig, client(n), flags), (ForwardStable, backend));
        }
        assert!(!knows(&rig, client(n)));
        seen[usize::from(backend)] += 1;
    }
    assert_eq!(seen[0], 0);
    assert!(seen[1..].iter().all(|&count| count > 5), "{seen:?}");
    let connections: u64 = (1..=8).map(|n| rig.counters(n).connections).sum();
    assert_eq!(connections, 200);
}

#[test]
fn a_moving_place_keeps_what_began_before_and_gives_away_what_begins() {
    let mut rig = service(Index::Hash, &[Slot::stable(1)]);
    for n in 0..20 {
        assert_eq!(tcp(&mut rig, client(n), "S"), (ForwardNew, 1));
        assert_eq!(udp(&mut rig, client(n)), (ForwardStable, 1));
    }
    becomes(&mut rig, &[Slot::moving(2, 1)]);
    for n in 0..20 {
        assert_eq!(tcp(&mut rig, client(n), "A"), (ForwardAdopted, 1));
        assert_eq!(tcp(&mut rig, client(n), "PA"), (ForwardKnown, 1));
        assert_eq!(udp(&mut rig, client(n)), (ForwardAdopted, 1));
        assert_eq!(udp(&mut rig, client(n)), (ForwardKnown, 1));
    }
    for n in 20..40 {
        assert_eq!(tcp(&mut rig, client(n), "S"), (ForwardNew, 2));
        assert_eq!(tcp(&mut rig, client(n), "A"), (ForwardKnown, 2));
    }
    // Another change before the first has ended: what isn't known is still the first's.
    becomes(&mut rig, &[Slot::moving(3, 1)]);
    assert_eq!(tcp(&mut rig, client(50), "A"), (ForwardAdopted, 1));
    assert_eq!(tcp(&mut rig, client(25), "A"), (ForwardKnown, 2));
    assert_eq!(tcp(&mut rig, client(60), "S"), (ForwardNew, 3));
    // The end of what isn't known is not remembered.
    assert_eq!(tcp(&mut rig, client(70), "R"), (ForwardUntracked, 1));
    assert!(!knows(&rig, client(70)));
}

#[test]
fn a_tracked_place_follows_what_it_knows_and_remembers_no_more() {
    let mut rig = service(Index::Hash, &[Slot::moving(2, 1)]);
    assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardAdopted, 1));
    assert_eq!(tcp(&mut rig, client(1), "S"), (ForwardNew, 2));
    becomes(&mut rig, &[Slot::tracked(2)]);
    assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardKnown, 1));
    assert_eq!(tcp(&mut rig, client(1), "A"), (ForwardKnown, 2));
    assert_eq!(tcp(&mut rig, client(2), "S"), (ForwardNew, 2));
    assert_eq!(tcp(&mut rig, client(2), "A"), (ForwardStable, 2));
    assert!(!knows(&rig, client(2)));
}

#[test]
fn flows_of_a_backend_that_is_gone_move() {
    for gone in [BackendState::Down, BackendState::Free] {
        let mut rig = service(Index::Hash, &[Slot::moving(2, 1)]);
        assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardAdopted, 1));
        rig.state(1, gone);
        assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardMoved, 2));
        assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardKnown, 2));
        assert_eq!(tcp(&mut rig, client(1), "A"), (ForwardMoved, 2));
        assert_eq!(tcp(&mut rig, client(1), "A"), (ForwardKnown, 2));
        assert_eq!(tcp(&mut rig, client(2), "R"), (ForwardUntracked, 2));
    }
}

#[test]
fn a_draining_backend_keeps_its_flows_in_a_moving_place() {
    let mut rig = service(Index::Hash, &[Slot::moving(2, 1)]);
    rig.state(1, BackendState::Draining);
    assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardAdopted, 1));
    assert_eq!(tcp(&mut rig, client(0), "S"), (ForwardNew, 2));
    assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardKnown, 2));
}

/// A SYN that finds no room must go where its connection's other packets will.
#[test]
fn without_room_a_moving_place_gives_new_connections_to_the_old_backend() {
    let mut rig = service(Index::Hash, &[Slot::moving(2, 1)]);
    let bucket: Vec<Socket> = (0..)
        .map(client)
        .filter(|&client| rig.place(client, PORT, TCP).0 == 0)
        .take(9)
        .collect();
    for &client in &bucket[..8] {
        assert_eq!(tcp(&mut rig, client, "S"), (ForwardNew, 2));
        assert_eq!(tcp(&mut rig, client, "A"), (ForwardKnown, 2));
    }
    for flags in ["S", "A"] {
        assert_eq!(tcp(&mut rig, bucket[8], flags), (ForwardUntracked, 1));
    }
}

#[test]
fn a_client_is_known_by_its_prefix() {
    let wheel: Vec<Slot> = (1..=8).map(Slot::stable).collect();
    for (prefix, others_differ) in [(24, false), (32, true), (0, false)] {
        let mut rig = service(Index::Source, &wheel);
        rig.prefix((VIP.into(), PORT, TCP), prefix);
        becomes(&mut rig, &wheel);
        let from = |last, port| ([10, 9, 8, last], port);
        let (_, first) = tcp(&mut rig, from(1, 1_000), "S");
        for port in 1_001..1_050 {
            assert_eq!(tcp(&mut rig, from(1, port), "S"), (ForwardNew, first));
        }
        let differs = (2..50).any(|last| tcp(&mut rig, from(last, 1_000), "S").1 != first);
        assert_eq!(differs, others_differ, "a prefix of {prefix} bits");
    }
}

#[test]
fn random_turns_remember_their_flows() {
    let mut rig = pool(&[1]);
    let backends: Vec<u16> = (1..=8).collect();
    rig.service_at(
        (VIP.into(), PORT, TCP),
        Keeping::Flows,
        Index::Random,
        &backends,
    );
    let mut seen = [0; 9];
    for n in 0..400 {
        let (verdict, backend) = tcp(&mut rig, client(n), "S");
        assert_eq!(verdict, ForwardNew);
        assert_eq!(tcp(&mut rig, client(n), "A"), (ForwardKnown, backend));
        seen[usize::from(backend)] += 1;
    }
    // Eight times 50 on average; 15 is more than 5 standard deviations away.
    assert!(seen[1..].iter().all(|&count| count > 15), "{seen:?}");
}

/// An error about what a backend has sent finds it without an entry.
#[test]
fn an_error_about_a_flow_that_nobody_remembers_reaches_its_backend() {
    for (wheel, number) in [
        (Slot::stable(1), 1),
        (Slot::moving(2, 1), 1),
        (Slot::tracked(2), 2),
    ] {
        let mut rig = service(Index::Hash, &[wheel]);
        let quoted = Frame::tcp((VIP, PORT), (CLIENT, 7_000), "A").bytes();
        let kind = etherparse::Icmpv4Type::DestinationUnreachable(
            etherparse::icmpv4::DestUnreachableHeader::Port,
        );
        let error = Frame::icmp([198, 51, 100, 9], VIP, kind).payload(&quoted[14..42]);
        assert_eq!(went(&mut rig, &error), (ForwardError, number));
    }
}

#[test]
fn where_nobody_takes_over_only_what_began_before_goes_on() {
    let mut rig = service(Index::Hash, &[Slot::moving(0, 1)]);
    rig.state(1, BackendState::Draining);
    assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardAdopted, 1));
    let verdict = |rig: &mut Rig, n, flags| {
        let frame = Frame::tcp(client(n), (VIP, PORT), flags);
        rig.send(&frame.bytes()).verdict
    };
    assert_eq!(verdict(&mut rig, 1, "S"), DropNoBackend);
    assert_eq!(verdict(&mut rig, 0, "S"), DropNoBackend);
    rig.state(1, BackendState::Down);
    assert_eq!(verdict(&mut rig, 2, "A"), DropNoBackend);
    for wheel in [&[][..], &[Slot::default()]] {
        becomes(&mut rig, wheel);
        assert_eq!(verdict(&mut rig, 3, "S"), DropNoBackend);
    }
}
