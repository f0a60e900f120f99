//! Frames cut short, changed and made up: the verdict is what [`spec`] says, and what
//! isn't sent stays as it was.
//!
//! Frames shorter than an Ethernet header can't be tried: the kernel refuses test runs
//! with less.

use etherparse::EtherType;
use lb_common::verdict::{Action, Verdict};

use crate::{
    diff,
    frame::{Frame, arp, arp_request, ethernet},
    random::Random,
    rig::{Rig, SHORTEST, Sent, XDP_DROP, XDP_PASS, XDP_TX},
    site::{
        self, BROADCAST, CLIENT, CLIENT_MAC, EXPIRED, LEASED, NOT_VIP, OWN, VIP, mac_of, server_of,
    },
    spec::{self, Expected},
};

/// A frame of each kind that is not just passed.
fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    let tcp = |port| {
        Frame::tcp((CLIENT, 1), (VIP, port), "PA")
            .payload(b"payload")
            .bytes()
    };
    let udp = |port| Frame::udp((CLIENT, 1), (VIP, port), b"payload").bytes();
    vec![
        (
            "ARP",
            arp(
                BROADCAST,
                CLIENT_MAC,
                &arp_request((CLIENT_MAC, CLIENT), VIP),
            ),
        ),
        ("echo", Frame::echo(CLIENT, VIP, b"payload").bytes()),
        ("TCP, dsr", tcp(80)),
        ("UDP, dsr", udp(80)),
        ("TCP, nat", tcp(90)),
        ("UDP, nat", udp(90)),
        (
            "TCP, padded",
            Frame::tcp((CLIENT, 1), (VIP, 80), "A").padded().bytes(),
        ),
        ("closed port", tcp(22)),
        (
            "not ours",
            Frame::udp((CLIENT, 1), (NOT_VIP, 80), b"payload").bytes(),
        ),
    ]
}

/// Sends a frame and holds what comes of it against the specification.
fn check(rig: &mut Rig, what: &str, frame: &[u8]) {
    let sent = rig.send(frame);
    let wrong = match spec::expected(frame) {
        Expected::Untouched(verdict) => sent.verdict != verdict || !is_untouched(&sent, frame),
        Expected::Answered(verdict) => sent.verdict != verdict || !is_answer(&sent, frame),
        Expected::Forwarded { nat } => !is_forwarded(&sent, frame, nat),
        Expected::Followed => match sent.verdict {
            Verdict::ForwardFragment => !is_forwarded(&sent, frame, true),
            verdict => {
                ![Verdict::DropFragment, Verdict::DropTtl].contains(&verdict)
                    || !is_untouched(&sent, frame)
            }
        },
    };
    assert!(
        !wrong,
        "{what}: must be {:?}, is {:?} with action {}\n{}",
        spec::expected(frame),
        sent.verdict,
        sent.action,
        diff::of(frame, &sent.bytes)
    );
}

fn is_untouched(sent: &Sent, frame: &[u8]) -> bool {
    let action = match sent.verdict.action() {
        Action::Pass => XDP_PASS,
        Action::Drop => XDP_DROP,
        Action::Transmit => return false,
    };
    sent.action == action && sent.bytes == frame
}

/// Addressed to the asker; how an answer reads in full is the fixture tables' to say.
fn is_answer(sent: &Sent, frame: &[u8]) -> bool {
    sent.action == XDP_TX
        && sent.bytes.len() == frame.len()
        && sent.bytes[..6] == frame[6..12]
        && sent.bytes[6..12] == OWN
}

/// Nothing but the MAC addresses is changed, and under `nat` TTL, destination and
/// checksums.
fn is_forwarded(sent: &Sent, frame: &[u8], nat: bool) -> bool {
    let l4 = 14 + spec::header(frame);
    let checksum = if frame[23] == 6 { l4 + 16 } else { l4 + 6 };
    let may_change = |at: usize| {
        at < 12
            || nat
                && (at == 22
                    || (24..26).contains(&at)
                    || (30..34).contains(&at)
                    || (l4 + 2..l4 + 4).contains(&at)
                    || (checksum..checksum + 2).contains(&at))
    };
    sent.verdict.action() == Action::Transmit
        && sent.verdict != Verdict::ReturnNat
        && sent.bytes.len() == frame.len()
        && (0..frame.len()).all(|at| may_change(at) || sent.bytes[at] == frame[at])
}

#[test]
fn every_prefix_of_every_kind() {
    let mut rig = site::rig();
    assert!(!rig.takes(SHORTEST - 1), "shorter frames can be tried too");
    for (kind, frame) in kinds() {
        for length in SHORTEST..=frame.len() {
            check(
                &mut rig,
                &format!("{kind}, {length} bytes"),
                &frame[..length],
            );
        }
    }
}

/// A server's answer that is cut short belongs to no flow: it isn't translated.
#[test]
fn every_prefix_of_the_way_back() {
    let mut rig = site::rig();
    rig.send(&Frame::tcp((CLIENT, 1), (VIP, 90), "S").bytes());
    rig.send(&Frame::udp((CLIENT, 1), (VIP, 90), b"?").bytes());
    let answers = [
        Frame::tcp(server_of(11), (CLIENT, 1), "SA").macs(mac_of(11), OWN),
        Frame::udp(server_of(13), (CLIENT, 1), b"").macs(mac_of(13), OWN),
    ];
    for answer in answers {
        let frame = answer.bytes();
        for length in SHORTEST..frame.len() {
            let what = format!("{length} of {} bytes", frame.len());
            check(&mut rig, &what, &frame[..length]);
        }
        assert_eq!(rig.send(&frame).verdict, Verdict::ReturnNat);
    }
}

#[test]
fn every_version_and_header_length() {
    let mut rig = site::rig();
    for (kind, mut frame) in kinds() {
        for value in 0..=u8::MAX {
            frame[14] = value;
            check(
                &mut rig,
                &format!("{kind}, version and header length {value:#04x}"),
                &frame,
            );
        }
    }
}

#[test]
fn every_total_length_near_the_true_one() {
    let mut rig = site::rig();
    for (kind, mut frame) in kinds() {
        let lengths = (0..frame.len() as u16 + 20).chain([0x7fff, 0x8000, u16::MAX]);
        for value in lengths {
            frame[16..18].copy_from_slice(&value.to_be_bytes());
            check(&mut rig, &format!("{kind}, total length {value}"), &frame);
        }
    }
}

#[test]
fn every_fragment_field() {
    let mut rig = site::rig();
    for frame in [
        Frame::tcp((CLIENT, 1), (VIP, 80), "A").bytes(),
        Frame::udp((CLIENT, 1), (VIP, 90), b"x").bytes(),
        Frame::echo(CLIENT, VIP, b"x").bytes(),
    ] {
        let mut frame = frame;
        // Each bit by itself and with each other, and offsets without a pattern.
        let bits = (0..16).flat_map(|a| (0..16).map(move |b| 1u16 << a | 1 << b));
        for value in bits.chain((0..=u16::MAX).step_by(97)) {
            frame[20..22].copy_from_slice(&value.to_be_bytes());
            check(&mut rig, &format!("fragment field {value:#06x}"), &frame);
        }
    }
}

#[test]
fn every_protocol_flag_byte_and_message_type() {
    let mut rig = site::rig();
    for (kind, frame) in kinds() {
        for at in [23, 34, 35, 47] {
            let mut frame = frame.clone();
            for value in 0..=u8::MAX {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
                check(
                    &mut rig,
                    &format!("{kind}, byte {at} is {value:#04x}"),
                    &frame,
                );
            }
        }
    }
}

/// Whatever lies behind a valid Ethernet header.
#[test]
fn random_frames() {
    let mut rig = site::rig();
    let mut random = Random(2);
    for n in 0..15_000 {
        let destination = [OWN, OWN, BROADCAST, [2, 0, 0, 0, 9, 9]][random.below(4)];
        let ether_type = [0x0800, 0x0800, 0x0806, random.next() as u16][random.below(4)];
        let mut frame = ethernet(destination, CLIENT_MAC, EtherType(ether_type));
        frame.resize(SHORTEST + random.below(100), 0);
        random.fill(&mut frame[SHORTEST..]);
        check(&mut rig, &format!("frame {n}"), &frame);
    }
}

/// Good frames with a few bytes changed, and another destination now and then.
#[test]
fn changed_frames() {
    let mut rig = site::rig();
    let mut random = Random(3);
    let kinds = kinds();
    for n in 0..30_000 {
        let (kind, frame) = &kinds[random.below(kinds.len())];
        let mut frame = frame.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(frame.len());
            frame[at] = match random.below(3) {
                0 => random.next() as u8,
                1 => frame[at] ^ 1 << random.below(8),
                _ => [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            };
        }
        if random.below(4) == 0 {
            let at = if *kind == "ARP" { 38 } else { 30 };
            let addresses = [VIP, LEASED, EXPIRED, NOT_VIP];
            frame[at..at + 4].copy_from_slice(&addresses[random.below(4)]);
        }
        if random.below(3) == 0 && *kind != "ARP" {
            let port = (random.below(30) + 78) as u16;
            frame[36..38].copy_from_slice(&port.to_be_bytes());
        }
        check(&mut rig, &format!("{kind}, change {n}"), &frame);
    }
}
