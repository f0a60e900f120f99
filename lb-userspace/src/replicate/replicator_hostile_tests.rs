//! Two replicators whose peer or network is not as it should be.

use std::{
    net::UdpSocket,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Discard, Ending, Limits, MILLISECOND, Refusal, Replicator, Role, Setup, Told,
    relay::Relay,
    replicator_testbed::{FLOWS, Node, address, is_same, pair, start, wait, wait_for_sync},
    seal::MOST,
    simulation::{Faults, TIMEOUTS, key, roster, terms},
    wire::{Difference, Terms},
};
use crate::datapath::memory::Shared;

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
    for node in &mut pair {
        // Longer than a busy machine keeps anyone waiting: silence isn't what this is about.
        node.limits.silence = 10_000 * MILLISECOND;
    }
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
