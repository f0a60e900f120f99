//! Flowgate beside keepalived: the short form of the matrix, and what clashes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flowgate_tests::{
    flowgate::{self, Flowgate},
    interop::{
        answers::{Answers, EVERY},
        bed::Bed,
        capture::{Capture, Frame},
        judge::judge,
        keepalived::{Keepalived, State},
        matrix::{self, Plan},
        wire::{Cast, Family, HIGH, LOW, Node, Part, Version, Wire},
    },
    netns::run,
    steal,
    wait::{eventually, let_pass},
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_matrix_in_short() -> Result<()> {
    // Each for itself: a host that takes the CPUs' time for a while spoils some.
    let trial = |plan: &Plan| steal::despite(|| matrix::sound(plan.trial()));
    let rows = matrix::run(&matrix::short(), trial, |_, _| {});
    let failures = matrix::failures(&rows);
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

const PLAIN: Wire = Wire {
    version: Version::V3,
    cast: Cast::Multicast,
    family: Family::V4,
};

/// Flowgate joins a keepalived that `change` has configured otherwise. Gives what status says of
/// its group once that and the log have those words.
fn clash(
    wire: Wire,
    priority: u8,
    change: impl FnOnce(String) -> String,
    words: &str,
) -> Result<serde_json::Value> {
    let bed = Bed::build(false)?;
    let part = Part {
        priority,
        preempt: true,
    };
    let text = wire.flowgate(part);
    let binary = flowgate::binary()?;
    let mut flowgate = Flowgate::installed(&binary, bed.scratch(), bed.pins(), &text)?;
    let mut keepalived = Keepalived::new(&bed)?;
    let text = wire.keepalived(part, &keepalived.fifo());
    if priority == 255 {
        // An owner among keepaliveds that hears another one gives up that priority at once, and
        // mostly isn't heard with it: so it hears none.
        let mut nft = bed.theirs.command("nft")?;
        let deaf = "add table ip deaf\n\
                    add chain ip deaf in { type filter hook input priority 0; }\n\
                    add rule ip deaf in ip protocol 112 drop\n";
        run(nft.arg(deaf))?;
    }
    keepalived.start(&bed, &change(text))?;
    eventually(SOON, "keepalived is active", || {
        Ok((keepalived.state()? == Some(State::Master)).then_some(()))
    })?;
    flowgate.launch(&bed.ours)?;
    let status = eventually(SOON, &format!("status and log say: {words}"), || {
        let status = flowgate.json(&["vip", "status"])?;
        let group = status["groups"][0].clone();
        let named = group["clashes"].to_string().contains(words);
        let logged = flowgate.log().contains(words);
        Ok((named && logged).then_some(group))
    });
    status.with_context(|| format!("{}\n{}", flowgate.describe(), keepalived.log()))
}

#[test]
fn another_interval_is_named() -> Result<()> {
    let wire = Wire {
        version: Version::V2,
        ..PLAIN
    };
    let slower = |text: String| text.replace("advert_int 1\n", "advert_int 2\n");
    let group = clash(wire, HIGH, slower, "it advertises every 2s, we every 1s")?;
    ensure!(group["clashes"][0]["peer"] == "10.0.0.3", "{group:#}");
    Ok(())
}

#[test]
fn other_addresses_are_named() -> Result<()> {
    let other = |text: String| text.replace("10.0.0.80/32", "10.0.0.81/32");
    clash(PLAIN, HIGH, other, "virtual addresses aren't ours").map(drop)
}

#[test]
fn two_owners_are_named() -> Result<()> {
    clash(PLAIN, 255, |text| text, "both nodes have priority 255").map(drop)
}

#[test]
fn another_checksum_is_named() -> Result<()> {
    let bed = Bed::build(false)?;
    let wire = Wire {
        version: Version::V3AsV2,
        ..PLAIN
    };
    let part = Part {
        priority: LOW,
        preempt: true,
    };
    let binary = flowgate::binary()?;
    let text = wire.flowgate(part);
    let mut flowgate = Flowgate::installed(&binary, bed.scratch(), bed.pins(), &text)?;
    let mut keepalived = Keepalived::new(&bed)?;
    let text = PLAIN.keepalived(part, &keepalived.fifo());
    keepalived.start(&bed, &text)?;
    flowgate.launch(&bed.ours)?;
    eventually(SOON, "it is counted and named", || {
        let status = flowgate.json(&["vip", "status"])?;
        let counted = status["groups"][0]["discarded"]["checksum_convention"].as_u64();
        let logged = flowgate
            .log()
            .contains("unset checksum_as_v2 for the group");
        Ok((counted > Some(0) && logged).then_some(()))
    })
    .with_context(|| flowgate.describe())
}

/// What the judge is worth: each of these changes to a good advertisement is found.
#[test]
fn the_judge_finds_what_is_wrong() -> Result<()> {
    let bed = Bed::build(false)?;
    let capture = Capture::start(bed.port())?;
    let answers = Answers::start(&bed)?;
    let part = Part {
        priority: HIGH,
        preempt: true,
    };
    let binary = flowgate::binary()?;
    let text = PLAIN.flowgate(part);
    let mut flowgate = Flowgate::installed(&binary, bed.scratch(), bed.pins(), &text)?;
    flowgate.launch(&bed.ours)?;
    answers.only(Node::Ours, Instant::now(), SOON)?;
    let_pass(PLAIN.interval() + EVERY)?;
    let frames = capture.finish();
    let seen = judge(&frames, PLAIN, bed.scratch())?;
    ensure!(
        seen.adverts > 0 && seen.arps > 0 && seen.neighbours > 0,
        "{seen:?}"
    );

    let find = |what: &str, is: &dyn Fn(&[u8]) -> bool| -> Result<Vec<u8>> {
        let frame = frames.iter().find(|frame| is(&frame.bytes));
        Ok(frame.with_context(|| format!("no {what}"))?.bytes.clone())
    };
    let advert = find("advertisement", &|frame| {
        frame[12..14] == [8, 0] && frame[23] == 112
    })?;
    let arp = find("ARP request", &|frame| {
        frame[12..14] == [8, 6] && frame[21] == 1 && frame[28..32] == frame[38..42]
    })?;
    let neighbour = find("neighbour advertisement", &|frame| {
        frame[12..14] == [0x86, 0xdd]
            && frame[20] == 58
            && frame[54] == 136
            && frame[58] & 0x40 == 0
    })?;
    // MAC, TTL, the IP checksum, version, VRID, the checksum, an address; and so on.
    for (frame, places) in [
        (&advert, &[5, 22, 24, 34, 35, 40, 45][..]),
        (&arp, &[5, 27, 31][..]),
        (&neighbour, &[5, 21, 56, 58, 77, 80][..]),
    ] {
        for &place in places {
            let mut wrong = frame.clone();
            wrong[place] ^= 2;
            let judged = judge(&[Frame::new(wrong)], PLAIN, bed.scratch());
            let seen = judged.as_ref().copied().unwrap_or_default();
            let passes = seen.adverts + seen.arps + seen.neighbours > 0;
            ensure!(!passes, "byte {place} of {frame:02x?} may be wrong");
        }
    }
    // The other convention is wrong too.
    let other = Wire {
        version: Version::V3AsV2,
        ..PLAIN
    };
    ensure!(judge(&[Frame::new(advert)], other, bed.scratch()).is_err());
    Ok(())
}
