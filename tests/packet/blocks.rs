//! What each CPU counts, it counts in its own block: where that lies, word by word.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use lb_common::{
    limits::{MAX_BACKENDS, MAX_SERVICES},
    verdict::{VERDICT_SLOTS, Verdict},
    wheel::Index,
};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::{
    frame::Frame,
    pool::{client, pool},
    rig::{Rig, stay_on},
    site::{Egress, OWN, TCP, VIP, mac_of, nat, server_of},
};

/// What CPUs count in.
const REGIONS: [&str; 5] = [
    "VERDICTS",
    "TO_BACKENDS",
    "TO_CLIENTS",
    "CONNECTIONS",
    "CURSORS",
];
const BACKENDS: u32 = MAX_BACKENDS + 1;

type Words = BTreeMap<(&'static str, u32), u64>;

/// The words that aren't 0.
fn words(rig: &Rig) -> Words {
    let mut words = Words::new();
    for name in REGIONS {
        for (place, word) in rig.words(name).words().iter().enumerate() {
            let value = word.load(Ordering::Relaxed);
            if value != 0 {
                words.insert((name, place as u32), value);
            }
        }
    }
    words
}

/// How much each word is more than it was.
fn more(before: &Words, after: &Words) -> Words {
    let mut more = after.clone();
    for (place, value) in before {
        *more.entry(*place).or_default() -= value;
    }
    more.retain(|_, value| *value != 0);
    more
}

#[test]
fn a_cpu_counts_in_its_own_block() {
    const SERVER: u16 = 65_535;
    let cpus = sched_getaffinity(None).expect("our CPUs");
    let mut rig = pool(&[1]);
    rig.backend(SERVER, &nat(SERVER, 90, TCP, Egress::Same));
    // The third service: number 2.
    rig.service(90, TCP, Index::Counter, &[SERVER; 1_000]);
    rig.server(server_of(SERVER), TCP, SERVER, 90);
    for cpu in (0..CpuSet::MAX_CPU).filter(|&cpu| cpus.is_set(cpu)) {
        stay_on(cpu);
        let from = client(cpu as u32);
        let syn = Frame::tcp(from, (VIP, 90), "S").bytes();
        let answer = Frame::tcp(server_of(SERVER), from, "SA").macs(mac_of(SERVER), OWN);
        let answer = answer.bytes();
        let before = words(&rig);
        assert_eq!(rig.send(&syn).verdict, Verdict::ForwardNew);
        assert_eq!(rig.send(&answer).verdict, Verdict::ReturnKernel);
        let (cpu, server) = (cpu as u32, u32::from(SERVER));
        let at = |records: u32, record: u32, words: u32| (cpu * records + record) * words;
        let verdict = |verdict| at(VERDICT_SLOTS, verdict as u32, 1);
        let expected = Words::from([
            (("VERDICTS", verdict(Verdict::ForwardNew)), 1),
            (("VERDICTS", verdict(Verdict::ReturnKernel)), 1),
            (("TO_BACKENDS", at(BACKENDS, server, 2)), 1),
            (
                ("TO_BACKENDS", at(BACKENDS, server, 2) + 1),
                syn.len() as u64,
            ),
            (("TO_CLIENTS", at(BACKENDS, server, 2)), 1),
            (
                ("TO_CLIENTS", at(BACKENDS, server, 2) + 1),
                answer.len() as u64,
            ),
            (("CONNECTIONS", at(BACKENDS, server, 1)), 1),
            (("CURSORS", at(MAX_SERVICES, 2, 1)), 1),
        ]);
        assert_eq!(more(&before, &words(&rig)), expected, "CPU {cpu}");
    }
}
