//! A SYN flood costs no established connection.

use std::time::Instant;

use flowgate::datapath::flows::Flows;
use lb_common::{
    flow::{State, Timeouts},
    verdict::Verdict,
};

use crate::{
    frame::Frame,
    pool::{PORT, client, pool, tcp},
    random::Random,
    site::{TCP, VIP},
};

const CONNECTIONS: u32 = 1_000;
/// Seventy times the slots of the table.
const FLOOD: u32 = 150_000;

#[test]
fn a_flood_of_syns_costs_no_established_flow() {
    let start = Instant::now();
    let mut rig = pool(&[1, 2, 3]);
    let mut settled = Vec::new();
    for n in 0..CONNECTIONS {
        let (first, backend) = tcp(&mut rig, client(n), "S");
        let (second, same) = tcp(&mut rig, client(n), "A");
        assert_eq!(backend, same, "{first:?}, then {second:?}");
        // Where eight established flows lie in a bucket, a ninth has no entry.
        if second == Verdict::ForwardKnown {
            settled.push((n, backend));
        }
    }
    assert!(
        settled.len() > 950,
        "{} of {CONNECTIONS} have entries",
        settled.len()
    );
    let slots = rig.flows.words().len() as u32;
    assert!(FLOOD > 50 * slots);

    let mut random = Random(1);
    let mut syn = Frame::tcp(([10, 200, 0, 0], 1), (VIP, PORT), "S").bytes();
    let tick = rig.object.tick().expect("the clock");
    for _ in 0..FLOOD {
        // The last 23 bits of the source address, and the source port. Its checksums
        // are wrong, and nothing on the way to a backend looks at them.
        random.fill(&mut syn[28..30]);
        random.fill(&mut syn[34..36]);
        rig.run(&syn);
    }
    let flooded: u64 = rig.risen().iter().map(|&(_, count)| count).sum();
    assert_eq!(flooded, u64::from(FLOOD));
    assert_eq!(
        rig.object.tick().expect("the clock").wrapping_sub(tick) / 2,
        0,
        "too slow a test"
    );

    let words = rig.flows.words().iter();
    let full = words
        .filter(|word| word.load(std::sync::atomic::Ordering::Relaxed) != 0)
        .count();
    assert!(
        full as u32 > slots * 9 / 10,
        "the flood filled {full} of {slots} slots only"
    );
    for &(n, backend) in &settled {
        let entry = rig.entry(client(n), PORT, TCP);
        assert_eq!(
            entry.map(|e| e.state()),
            Some(State::Established),
            "flow {n}"
        );
        assert_eq!(
            tcp(&mut rig, client(n), "PA"),
            (Verdict::ForwardKnown, backend),
            "flow {n}"
        );
    }
    let now = rig.object.tick().expect("the clock");
    let flows = Flows::new(
        rig.object.shared("FLOWS").expect("the flow table"),
        rig.object.shared("PORTS").expect("the pool's ports"),
        rig.identity.pool,
        Timeouts::from_bits(rig.identity.timeouts),
    );
    assert_eq!(
        flows.sweep(now, &[]).flows.iter().sum::<u32>(),
        full as u32,
        "as userspace counts"
    );
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}
