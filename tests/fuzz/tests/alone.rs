//! The model and the packets without the program, and without root: the model's own
//! word is taken for what came out. It must hold together, every checksum that it makes
//! must be right, and the packets must reach every verdict.

use std::collections::BTreeMap;

use flowgate_fuzz::{
    audit,
    generate::Generator,
    model::{Got, Model, Outcome, Way, parse},
    report,
    site::standard,
};
use lb_common::verdict::Verdict;

/// What the program might have made of a frame: the first outcome, or another one.
fn played(model: &Model, frame: &[u8], dice: &mut fastrand::Rng, next_port: &mut u16) -> Outcome {
    let outcomes = |got: &[u8]| {
        let (verdict, way) = (Verdict::PassProtocol, Way::Pass);
        let frame_out = Got {
            verdict,
            way,
            frame: got,
        };
        model.outcomes(frame, &frame_out)
    };
    let mut got = frame.to_vec();
    let mut outcome = None;
    // A source of the pool and bits that vary are the program's choice: the second look
    // takes them from what the first one gave.
    for _ in 0..2 {
        let may = outcomes(&got);
        let which = dice.usize(0..may.len());
        let chosen = may.into_iter().nth(which).expect("one");
        if let Some(frame) = &chosen.frame {
            got.clone_from(frame);
            choose_port(&mut got, next_port);
        }
        outcome = Some(chosen);
    }
    let wanted = outcome.expect("one");
    let destination = |o: &Outcome| o.frame.as_ref()?.get(..6).map(<[u8]>::to_vec);
    let like = |o: &Outcome| (o.verdict, o.way, destination(o));
    let may = outcomes(&got);
    let same = may.iter().find(|o| like(o) == like(&wanted));
    same.or(may.first()).expect("one").clone()
}

/// A source port of the pool, if the frame is one whose source the pool gave.
fn choose_port(frame: &mut [u8], next_port: &mut u16) {
    let Some(link) = parse::link(frame) else {
        return;
    };
    let ip = match link.ether_type {
        0x0800 => parse::ipv4(frame, link.head),
        _ => parse::ipv6(frame, link.head),
    };
    let Ok(ip) = ip else { return };
    if POOL.contains(&ip.source.to_string().as_str()) && ip.has_ports() && !ip.is_later() {
        *next_port = 16_384 | next_port.wrapping_add(1) & 0x3fff;
        frame[ip.upper..ip.upper + 2].copy_from_slice(&next_port.to_be_bytes());
    }
}

#[test]
fn the_model_agrees_with_itself_and_its_checksums_are_right() {
    let seed: u64 = 20_261_121;
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut next_port = 0;
    let mut model = Model::new(standard());
    let mut generator = Generator::default();
    let mut histogram: BTreeMap<Verdict, u64> = BTreeMap::new();
    for index in 0..120_000u64 {
        if index % 20_000 == 0 {
            model.forget(standard());
            model.no_ports = index == 60_000;
            generator = Generator::default();
        }
        if index % 251 == 0 {
            let number = dice.u16(1..model.site.backends.len() as u16);
            let standing = dice.choice(STANDINGS).expect("three");
            model.set_standing(number, standing);
        }
        if index % 500 == 0 {
            model.forget_told();
        }
        let packet = generator.next(&model.site, seed ^ index << 20);
        let outcome = played(&model, &packet, &mut dice, &mut next_port);
        let frame = outcome.frame.clone().unwrap_or_default();
        let got = Got {
            verdict: outcome.verdict,
            way: outcome.way,
            frame: &frame,
        };
        if let Err(expected) = model.judge(&packet, &got) {
            panic!(
                "{index}: {}\n{}{outcome:?}\n{expected:?}",
                report::hex(&packet),
                report::decoded(&packet)
            );
        }
        generator.saw(&packet, &got);
        *histogram.entry(outcome.verdict).or_default() += 1;
        if frame != packet && audit::checksums(&packet).iter().all(|sum| sum.valid) {
            let wrong = audit::checksums(&frame).into_iter().find(|s| !s.valid);
            assert!(
                wrong.is_none(),
                "{index}: {wrong:?}\n{}{:?}\n{}",
                report::decoded(&packet),
                outcome.verdict,
                report::decoded(&frame)
            );
        }
    }
    for (verdict, count) in &histogram {
        println!("{count:>8} {}", verdict.label());
    }
    let never = [Verdict::DropNoHeadroom, Verdict::DropInternal];
    for verdict in Verdict::ALL
        .iter()
        .filter(|verdict| !never.contains(verdict))
    {
        assert!(histogram.contains_key(verdict), "{verdict:?} never came");
    }
}

const STANDINGS: [flowgate_fuzz::site::Standing; 3] = [
    flowgate_fuzz::site::Standing::Active,
    flowgate_fuzz::site::Standing::Draining,
    flowgate_fuzz::site::Standing::Down,
];

const POOL: [&str; 4] = [
    "192.0.2.201",
    "192.0.2.202",
    "2001:db8:2::201",
    "2001:db8:2::202",
];
