//! Two CPUs that enter flows in the same buckets at once.

use std::sync::Barrier;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use flowgate_tests::wait::slowness;
use lb_common::{
    flow::BUCKET_SLOTS,
    verdict::Verdict::{ForwardNew, ForwardUntracked},
};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::{
    frame::{Frame, Socket},
    pool::{PORT, client, pool, tcp},
    rig::{Rig, stay_on},
    site::{TCP, VIP, mac_of},
};

/// Buckets that are filled in a round.
const BUCKETS: usize = 150;
/// Rounds at least, and at most; CPUs that have met so often by then suffice.
const ROUNDS: std::ops::RangeInclusive<usize> = 20..=400;
const MEETINGS: u64 = 5;

/// Clients whose connections fill buckets: eight of each.
fn full_buckets(rig: &Rig) -> Vec<[Socket; BUCKET_SLOTS]> {
    let mut found: Vec<Vec<Socket>> = vec![Vec::new(); 256];
    for client in (0..20_000).map(client) {
        let bucket = rig.place(client, PORT, TCP).0 as usize % found.len();
        found[bucket].push(client);
    }
    let full = found
        .into_iter()
        .filter_map(|clients| clients.first_chunk().copied());
    full.take(BUCKETS).collect()
}

/// Sends a SYN of each client's; the backends that they went to.
fn connect(program: &Xdp, cpu: usize, clients: &[Socket], both: &Barrier) -> Vec<(Socket, u16)> {
    stay_on(cpu);
    let mut frames = Vec::with_capacity(clients.len());
    for &client in clients {
        frames.push((client, Frame::tcp(client, (VIP, PORT), "S").bytes()));
    }
    both.wait();
    let mut went = Vec::with_capacity(frames.len());
    for (client, frame) in frames {
        let mut out = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        program.test_run(options).expect("a test run");
        let backend = u16::from_be_bytes([out[4], out[5]]);
        assert_eq!(out[..6], mac_of(backend), "it was forwarded");
        went.push((client, backend));
    }
    went
}

/// Whoever comes second to a slot finds another way for its flow; no flow is lost: what
/// comes next of each goes where its first packet went.
#[test]
fn flows_that_two_cpus_enter_at_once_all_keep_their_backends() {
    let ours = sched_getaffinity(None).expect("our CPUs");
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&cpu| ours.is_set(cpu))
        .collect();
    let [first, second, ..] = cpus[..] else {
        eprintln!("SKIPPED: one CPU, so no two can meet");
        return;
    };
    // An emulated machine's CPUs take turns: they meet by chance at most.
    let meetings = if slowness() > 1 { 0 } else { MEETINGS };
    let (mut met, mut rounds) = (0, 0);
    while rounds < *ROUNDS.start() || met < meetings && rounds < *ROUNDS.end() {
        rounds += 1;
        let mut rig = pool(&[1, 2, 3, 4, 5]);
        let buckets = full_buckets(&rig);
        let half = |of: usize| -> Vec<Socket> {
            let of_bucket = |bucket: &[Socket; BUCKET_SLOTS]| {
                let (one, other) = bucket.split_at(BUCKET_SLOTS / 2);
                [one, other][of].to_vec()
            };
            buckets.iter().flat_map(of_bucket).collect()
        };
        let both = Barrier::new(2);
        let program: &Xdp = rig.object.program("flowgate").expect("loaded");
        let went = std::thread::scope(|scope| {
            let one = scope.spawn(|| connect(program, first, &half(0), &both));
            let other = scope.spawn(|| connect(program, second, &half(1), &both));
            let mut went = one.join().expect("no panic");
            went.extend(other.join().expect("no panic"));
            went
        });
        let counted = rig.risen();
        let count = |verdict| {
            let found = counted.iter().find(|(counted, _)| *counted == verdict);
            found.map_or(0, |&(_, count)| count)
        };
        let all = went.len() as u64;
        assert_eq!(
            count(ForwardNew) + count(ForwardUntracked),
            all,
            "{counted:?}"
        );
        met += count(ForwardUntracked);
        for (client, backend) in went {
            let (verdict, now) = tcp(&mut rig, client, "A");
            assert_eq!(now, backend, "round {rounds}, {client:?}: {verdict:?}");
        }
    }
    println!("{met} of {} met at a slot", rounds * BUCKETS * BUCKET_SLOTS);
    assert!(
        met >= meetings,
        "in {rounds} rounds CPUs {first} and {second} met {met} times, so nothing was tried: are they one, or is one always busy?"
    );
}
