//! What becomes of flows, packet by packet.

use std::collections::BTreeMap;

use lb_common::{
    abi::BackendState,
    flow::{BUCKET_SLOTS, State},
    verdict::Verdict::{
        self, DropNoBackend, ForwardAdopted, ForwardKnown, ForwardMoved, ForwardNew,
        ForwardUntracked, ReturnKernel,
    },
    wheel::{Class, Index, fill_smooth, smooth_length},
};
use rustix::thread::sched_getaffinity;

use crate::{
    frame::Frame,
    pool::{PORT, UDP_FIRST, client, connect, in_one_bucket, pool, pool_with, tcp, udp},
    rig::{Rig, stay_on},
    site::{Egress, OWN, TCP, UDP, VIP, mac_of, nat, server_of},
};

fn state(rig: &Rig, n: u32) -> Option<State> {
    rig.entry(client(n), PORT, TCP).map(|entry| entry.state())
}

/// New connections by backend.
fn shares(rig: &mut Rig, clients: std::ops::Range<u32>) -> BTreeMap<u16, u32> {
    let mut shares = BTreeMap::new();
    for n in clients {
        let (verdict, backend) = tcp(rig, client(n), "S");
        assert_eq!(verdict, ForwardNew);
        *shares.entry(backend).or_default() += 1;
    }
    shares
}

#[test]
fn round_robin_is_exact_on_each_cpu() {
    let cpus = sched_getaffinity(None).expect("our CPUs");
    let mut rig = pool(&[1, 2, 3]);
    let mut from = 0;
    for cpu in (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| cpus.is_set(cpu)) {
        stay_on(cpu);
        let shares = shares(&mut rig, from..from + 100);
        from += 100;
        assert_eq!(shares.values().sum::<u32>(), 100);
        assert!(
            shares.values().all(|count| [33, 34].contains(count)),
            "CPU {cpu}: {shares:?}"
        );
    }
    for number in 1..=3 {
        let counted = rig.counters(number);
        assert_eq!(counted.connections, counted.packets_in);
    }
}

#[test]
fn round_robin_goes_on_in_a_new_wheel() {
    let mut rig = pool(&[1, 2, 3, 4]);
    assert_eq!(shares(&mut rig, 0..3).len(), 3);
    rig.wheel(PORT, TCP, &[5, 6]);
    assert_eq!(shares(&mut rig, 3..7), BTreeMap::from([(5, 2), (6, 2)]));
}

#[test]
fn weights_are_exact_over_a_turn() {
    let weights = [5, 1, 3];
    let mut wheel = vec![0; smooth_length(&weights, 0) as usize];
    fill_smooth(&weights, &mut [Class::default(); 3], &mut wheel);
    let wheel: Vec<u16> = wheel.into_iter().map(|place| place + 1).collect();
    let mut rig = pool(&wheel);
    let expected = BTreeMap::from([(1, 250), (2, 50), (3, 150)]);
    assert_eq!(shares(&mut rig, 0..450), expected);
}

#[test]
fn a_known_flow_stays_whatever_the_wheel_says() {
    let mut rig = pool(&[1, 2]);
    let backends: Vec<u16> = (0..20).map(|n| connect(&mut rig, client(n))).collect();
    rig.wheel(PORT, TCP, &[3, 4, 5]);
    for (n, &backend) in backends.iter().enumerate() {
        for flags in ["A", "PA", "S"] {
            assert_eq!(
                tcp(&mut rig, client(n as u32), flags),
                (ForwardKnown, backend)
            );
        }
    }
}

#[test]
fn a_syn_alone_establishes_nothing() {
    let mut rig = pool(&[1]);
    for _ in 0..3 {
        tcp(&mut rig, client(0), "S");
        assert_eq!(state(&rig, 0), Some(State::New));
    }
    tcp(&mut rig, client(0), "A");
    assert_eq!(state(&rig, 0), Some(State::Established));
}

#[test]
fn a_draining_backend_keeps_its_flows_and_gets_no_new_ones() {
    let mut rig = pool(&[1, 2]);
    let backends: Vec<u16> = (0..10).map(|n| connect(&mut rig, client(n))).collect();
    let datagrams = udp(&mut rig, client(0)).1;
    rig.state(1, BackendState::Draining);
    rig.state(UDP_FIRST, BackendState::Draining);
    rig.wheel(PORT, TCP, &[2]);
    rig.wheel(PORT, UDP, &[UDP_FIRST + 1]);
    for (n, &backend) in backends.iter().enumerate() {
        let n = n as u32;
        assert_eq!(tcp(&mut rig, client(n), "PA"), (ForwardKnown, backend));
        let verdict = if backend == 1 {
            ForwardNew
        } else {
            ForwardKnown
        };
        assert_eq!(
            tcp(&mut rig, client(n), "S"),
            (verdict, 2),
            "a new connection"
        );
        assert_eq!(tcp(&mut rig, client(n), "A"), (ForwardKnown, 2));
    }
    assert_eq!(datagrams, UDP_FIRST);
    assert_eq!(udp(&mut rig, client(0)), (ForwardKnown, UDP_FIRST));
    assert_eq!(udp(&mut rig, client(1)), (ForwardNew, UDP_FIRST + 1));
    assert_eq!(shares(&mut rig, 20..30), BTreeMap::from([(2, 10)]));
}

#[test]
fn a_failed_backends_flows_move_at_once() {
    for gone in [BackendState::Down, BackendState::Free] {
        let mut rig = pool(&[1, 2, 3]);
        let backends: Vec<u16> = (0..30).map(|n| connect(&mut rig, client(n))).collect();
        let datagrams: Vec<u16> = (0..30).map(|n| udp(&mut rig, client(n)).1).collect();
        rig.state(1, gone);
        rig.state(UDP_FIRST, gone);
        rig.wheel(PORT, TCP, &[2, 3]);
        rig.wheel(PORT, UDP, &[UDP_FIRST + 1, UDP_FIRST + 2]);
        for n in 0..30 {
            let (verdict, backend) = tcp(&mut rig, client(n), "PA");
            if backends[n as usize] == 1 {
                assert_eq!(verdict, ForwardMoved);
                assert_ne!(backend, 1);
            } else {
                assert_eq!((verdict, backend), (ForwardKnown, backends[n as usize]));
            }
            assert_eq!(tcp(&mut rig, client(n), "PA"), (ForwardKnown, backend));
            assert_eq!(state(&rig, n), Some(State::Established));
            let (verdict, backend) = udp(&mut rig, client(n));
            assert_eq!(verdict == ForwardMoved, datagrams[n as usize] == UDP_FIRST);
            assert_eq!(udp(&mut rig, client(n)), (ForwardKnown, backend));
        }
    }
}

#[test]
fn a_syn_after_the_end_is_a_new_connection() {
    for end in ["FA", "R", "RA"] {
        let mut rig = pool(&[1, 2, 3]);
        let first = connect(&mut rig, client(0));
        assert_eq!(tcp(&mut rig, client(0), end), (ForwardKnown, first));
        assert_eq!(state(&rig, 0), Some(State::Closing));
        // What is still on its way goes where the connection was.
        assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardKnown, first));
        let (verdict, second) = tcp(&mut rig, client(0), "S");
        assert_eq!(verdict, ForwardNew);
        assert_eq!(second, first % 3 + 1, "round robin goes on");
        assert_eq!(state(&rig, 0), Some(State::New));
        assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardKnown, second));
    }
}

/// Whoever sees the middle of a connection first chooses the same backend: another
/// node, or this one after it has forgotten.
#[test]
fn the_middle_of_a_connection_goes_where_its_hash_says() {
    let mut rig = pool(&[1, 2, 3, 4]);
    let mut twin = pool_with(rig.identity, &[1, 2, 3, 4]);
    // The twin's round robin stands elsewhere.
    tcp(&mut twin, client(5_000), "S");
    let mut used = BTreeMap::<u16, u32>::new();
    for n in 0..400 {
        let (verdict, backend) = tcp(&mut rig, client(n), "PA");
        assert!(matches!(verdict, ForwardAdopted | ForwardUntracked));
        assert_eq!(tcp(&mut twin, client(n), "PA"), (verdict, backend));
        assert_eq!(tcp(&mut rig, client(n), "FA").1, backend);
        *used.entry(backend).or_default() += 1;
    }
    assert_eq!(used.len(), 4, "{used:?}");
    assert!(used.values().all(|&count| count > 40), "{used:?}");
}

#[test]
fn what_ends_an_unknown_connection_is_not_remembered() {
    let mut rig = pool(&[1, 2, 3]);
    for (n, flags) in ["FA", "F", "R", "RA", "SF", "SR"].into_iter().enumerate() {
        let (verdict, backend) = tcp(&mut rig, client(n as u32), flags);
        assert_eq!(verdict, ForwardUntracked, "{flags}");
        assert_eq!(tcp(&mut rig, client(n as u32), flags), (verdict, backend));
        assert_eq!(state(&rig, n as u32), None);
    }
    assert!((1..=3).all(|number| rig.counters(number).connections == 0));
}

#[test]
fn a_bucket_of_established_flows_takes_no_more() {
    let mut rig = pool(&[1, 2, 3]);
    let clients = in_one_bucket(&rig, TCP, BUCKET_SLOTS + 6);
    let (settled, late) = clients.split_at(BUCKET_SLOTS);
    let backends: Vec<u16> = settled
        .iter()
        .map(|&client| connect(&mut rig, client))
        .collect();
    let mut at = Vec::new();
    for &client in late {
        let (verdict, backend) = tcp(&mut rig, client, "S");
        assert_eq!(verdict, ForwardUntracked);
        for flags in ["S", "A", "PA", "FA"] {
            assert_eq!(tcp(&mut rig, client, flags), (ForwardUntracked, backend));
        }
        assert_eq!(rig.entry(client, PORT, TCP), None);
        at.push(backend);
    }
    for (&client, &backend) in settled.iter().zip(&backends) {
        assert_eq!(tcp(&mut rig, client, "PA"), (ForwardKnown, backend));
    }
    // Once a place is free, the next packet takes it, to the same backend.
    tcp(&mut rig, settled[3], "FA");
    assert_eq!(tcp(&mut rig, late[0], "PA"), (ForwardAdopted, at[0]));
    assert_eq!(rig.entry(settled[3], PORT, TCP), None);
    assert_eq!(tcp(&mut rig, late[0], "PA"), (ForwardKnown, at[0]));
}

#[test]
fn unproven_flows_make_room_first_then_closing_ones() {
    let mut rig = pool(&[1]);
    let clients = in_one_bucket(&rig, TCP, BUCKET_SLOTS + 2);
    for &client in &clients[..BUCKET_SLOTS - 1] {
        connect(&mut rig, client);
    }
    tcp(&mut rig, clients[0], "FA");
    let (syn, next, last) = (clients[7], clients[8], clients[9]);
    tcp(&mut rig, syn, "S");
    assert_eq!(tcp(&mut rig, next, "S").0, ForwardNew);
    assert_eq!(rig.entry(syn, PORT, TCP), None, "the SYN made room");
    assert!(rig.entry(clients[0], PORT, TCP).is_some());
    tcp(&mut rig, next, "A");
    assert_eq!(tcp(&mut rig, last, "S").0, ForwardNew);
    assert_eq!(
        rig.entry(clients[0], PORT, TCP),
        None,
        "the closed flow made room"
    );
}

#[test]
fn a_second_datagram_assures_a_flow() {
    let mut rig = pool(&[1, 2]);
    let at = |rig: &Rig, client| rig.entry(client, PORT, UDP).map(|entry| entry.state());
    let clients = in_one_bucket(&rig, UDP, BUCKET_SLOTS + 1);
    for &client in &clients[..BUCKET_SLOTS] {
        let (verdict, backend) = udp(&mut rig, client);
        assert_eq!(verdict, ForwardNew);
        assert_eq!(at(&rig, client), Some(State::New));
        assert_eq!(udp(&mut rig, client), (ForwardKnown, backend));
        assert_eq!(at(&rig, client), Some(State::Assured));
    }
    let (verdict, backend) = udp(&mut rig, clients[BUCKET_SLOTS]);
    assert_eq!(verdict, ForwardUntracked);
    assert_eq!(
        udp(&mut rig, clients[BUCKET_SLOTS]),
        (ForwardUntracked, backend)
    );
}

#[test]
fn one_client_by_both_protocols_has_two_flows() {
    let mut rig = pool(&[1, 2]);
    let connection = connect(&mut rig, client(0));
    assert_eq!(udp(&mut rig, client(0)), (ForwardNew, UDP_FIRST));
    assert_eq!(tcp(&mut rig, client(0), "A"), (ForwardKnown, connection));
}

#[test]
fn without_a_backend_everything_is_dropped_until_one_returns() {
    let mut rig = pool(&[1, 2]);
    let backend = connect(&mut rig, client(0));
    rig.state(1, BackendState::Down);
    rig.state(2, BackendState::Down);
    rig.wheel(PORT, TCP, &[]);
    for (n, flags) in [(0, "PA"), (0, "S"), (1, "S"), (1, "PA"), (1, "R")] {
        let frame = Frame::tcp(client(n), (VIP, PORT), flags);
        assert_eq!(
            rig.send(&frame.bytes()).verdict,
            DropNoBackend,
            "{n} {flags}"
        );
    }
    rig.state(backend, BackendState::Active);
    rig.wheel(PORT, TCP, &[backend]);
    assert_eq!(tcp(&mut rig, client(0), "PA"), (ForwardKnown, backend));
    assert_eq!(tcp(&mut rig, client(1), "S"), (ForwardNew, backend));
}

/// A service indexed by hash gives the same backend to every packet, first or later.
#[test]
fn a_hash_index_chooses_alike_for_first_and_later_packets() {
    let mut rig = pool(&[1]);
    rig.service(81, TCP, Index::Hash, &[1, 2, 3, 4]);
    let send = |rig: &mut Rig, n, flags| {
        rig.send(&Frame::tcp(client(n), (VIP, 81), flags).bytes())
            .backend()
    };
    let fins: Vec<u16> = (0..100).map(|n| send(&mut rig, n, "FA")).collect();
    let syns: Vec<u16> = (0..100).map(|n| send(&mut rig, n, "S")).collect();
    assert_eq!(fins, syns);
    assert!((1..=4).all(|number| syns.contains(&number)), "{syns:?}");
}

/// What the server sends (seen under `nat`) ends a flow and keeps it young, but
/// proves nothing of the client.
#[test]
fn a_server_can_end_a_flow_but_not_establish_it() {
    let mut rig = pool(&[1]);
    rig.backend(5, &nat(5, 90, TCP, Egress::Same));
    rig.service(90, TCP, Index::Counter, &[5]);
    rig.server(server_of(5), TCP, 5, 90);
    let from_client = |rig: &mut Rig, flags| {
        rig.send(&Frame::tcp(client(0), (VIP, 90), flags).bytes())
            .verdict
    };
    let from_server = |rig: &mut Rig, flags| -> Verdict {
        let frame = Frame::tcp(server_of(5), client(0), flags).macs(mac_of(5), OWN);
        rig.send(&frame.bytes()).verdict
    };
    let state = |rig: &Rig| rig.entry(client(0), 90, TCP).map(|entry| entry.state());
    from_client(&mut rig, "S");
    assert_eq!(from_server(&mut rig, "SA"), ReturnKernel);
    assert_eq!(from_server(&mut rig, "A"), ReturnKernel);
    assert_eq!(state(&rig), Some(State::New));
    from_client(&mut rig, "A");
    assert_eq!(state(&rig), Some(State::Established));
    assert_eq!(from_server(&mut rig, "FA"), ReturnKernel);
    assert_eq!(state(&rig), Some(State::Closing));
    assert_eq!(from_server(&mut rig, "A"), ReturnKernel);
    assert_eq!(from_client(&mut rig, "S"), ForwardNew);
}
