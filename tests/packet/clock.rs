//! Ages and expiry, by the program's own clock.

use std::time::{Duration, Instant};

use lb_common::{
    abi::Identity,
    flow::{BUCKET_SLOTS, Tick, Timeouts},
    verdict::Verdict::{ForwardKnown, ForwardNew, ForwardUntracked},
};
use rustix::time::{ClockId, clock_getres};

use crate::{
    pool::{PORT, connect, in_one_bucket, pool_with, tcp},
    rig::{Rig, identity},
    site::TCP,
};

/// How long a clock may stand before a test gives up.
const DEADLINE: Duration = Duration::from_secs(20);
/// Established flows expire after this many ticks: a second or two, which a busy machine
/// may take for what a test does meanwhile.
const IDLE: u8 = 60;

/// Ticks of 16 to 32 ms: an age wraps after 4 s at least, and no test takes so long.
fn quick() -> Identity {
    let jiffy = clock_getres(ClockId::MonotonicCoarse).tv_nsec as u64;
    Identity {
        tick_shift: (16_000_000 / jiffy).next_power_of_two().ilog2(),
        timeouts: Timeouts::new([200, IDLE, 200, 200]).bits(),
        ..identity()
    }
}

fn tick(rig: &mut Rig) -> Tick {
    rig.object.tick().expect("the clock")
}

/// Waits until `ticks` more than now have passed.
fn wait(rig: &mut Rig, ticks: u8) {
    let (start, from) = (Instant::now(), tick(rig));
    while tick(rig).wrapping_sub(from) <= ticks {
        assert!(start.elapsed() < DEADLINE, "the clock stands at {from}");
        std::thread::yield_now();
    }
}

#[test]
fn every_packet_makes_its_flow_young() {
    let mut rig = pool_with(quick(), &[1]);
    let client = in_one_bucket(&rig, TCP, 1)[0];
    for flags in ["S", "S", "A", "PA", "FA", "A"] {
        let before = tick(&mut rig);
        tcp(&mut rig, client, flags);
        let age = rig.entry(client, PORT, TCP).expect("known").age();
        let after = tick(&mut rig);
        assert!(
            age.wrapping_sub(before) <= after.wrapping_sub(before),
            "{before} {age} {after}"
        );
        wait(&mut rig, 1);
    }
}

#[test]
fn an_expired_flow_makes_room_and_a_busy_one_does_not() {
    let mut rig = pool_with(quick(), &[1, 2]);
    let clients = in_one_bucket(&rig, TCP, BUCKET_SLOTS + 2);
    let backends: Vec<u16> = clients[..BUCKET_SLOTS]
        .iter()
        .map(|&client| connect(&mut rig, client))
        .collect();
    let (late, later) = (clients[BUCKET_SLOTS], clients[BUCKET_SLOTS + 1]);
    assert_eq!(tcp(&mut rig, late, "S").0, ForwardUntracked);
    wait(&mut rig, IDLE);
    // All but one sent something since.
    for i in (0..BUCKET_SLOTS).filter(|&i| i != 5) {
        assert_eq!(tcp(&mut rig, clients[i], "PA"), (ForwardKnown, backends[i]));
    }
    assert_eq!(tcp(&mut rig, late, "S").0, ForwardNew);
    assert_eq!(rig.entry(clients[5], PORT, TCP), None, "the idle one went");
    tcp(&mut rig, late, "A");
    assert_eq!(
        tcp(&mut rig, later, "S").0,
        ForwardUntracked,
        "the others stay"
    );
}

/// The entry of a flow that comes back before anyone takes its place is still good.
#[test]
fn an_expired_flow_that_comes_back_is_known() {
    let mut rig = pool_with(quick(), &[1, 2]);
    let client = in_one_bucket(&rig, TCP, 1)[0];
    let backend = connect(&mut rig, client);
    wait(&mut rig, IDLE + 1);
    assert_eq!(tcp(&mut rig, client, "PA"), (ForwardKnown, backend));
}

/// Nobody sees a server refuse a connection in `dsr`: its entry stays new until it
/// expires, and the client's port may come again.
#[test]
fn a_syn_after_expiry_is_a_new_connection() {
    let new = IDLE / 3;
    let identity = Identity {
        timeouts: Timeouts::new([new, 200, 200, 200]).bits(),
        ..quick()
    };
    let mut rig = pool_with(identity, &[1, 2]);
    let client = in_one_bucket(&rig, TCP, 1)[0];
    let (verdict, backend) = tcp(&mut rig, client, "S");
    assert_eq!(verdict, ForwardNew);
    assert_eq!(tcp(&mut rig, client, "S"), (ForwardKnown, backend));
    wait(&mut rig, new);
    assert_eq!(tcp(&mut rig, client, "S"), (ForwardNew, 3 - backend));
}
