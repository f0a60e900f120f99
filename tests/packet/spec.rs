//! What must become of a frame on the fixtures' site, written plainly from the
//! specification: one question after the other, no code shared with the program.

use lb_common::verdict::Verdict;

use crate::site::{EXPIRED, LEASED, OWN, VIP};

/// What must become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Exactly this; the frame stays as it is.
    Untouched(Verdict),
    /// Exactly this, as a reply.
    Answered(Verdict),
    /// To a backend, by `nat` or not; how depends on the flow.
    Forwarded { nat: bool },
}

use Expected::{Answered, Forwarded, Untouched};

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn address(frame: &[u8], at: usize) -> [u8; 4] {
    frame[at..at + 4].try_into().expect("four bytes")
}

fn is_vip(address: [u8; 4]) -> bool {
    [VIP, LEASED, EXPIRED].contains(&address)
}

fn is_held(address: [u8; 4]) -> bool {
    [VIP, LEASED].contains(&address)
}

/// What must become of a frame that belongs to no flow back from a server.
pub fn expected(frame: &[u8]) -> Expected {
    let ours = frame[..6] == OWN;
    let group = frame[0] & 1 == 1;
    match word(frame, 12) {
        0x0800 if ours => ipv4(frame),
        0x0806 if ours || group => arp(frame),
        0x0800 | 0x0806 => Untouched(Verdict::PassOtherHost),
        _ => Untouched(Verdict::PassProtocol),
    }
}

fn arp(frame: &[u8]) -> Expected {
    if frame.len() < 14 + 28 {
        return Untouched(Verdict::PassMalformed);
    }
    let is_request = frame[14..22] == [0, 1, 8, 0, 6, 4, 0, 1];
    let (sender, target) = (address(frame, 28), address(frame, 38));
    if !is_request || sender == target || !is_vip(target) {
        return Untouched(Verdict::PassArp);
    }
    if !is_held(target) {
        return Untouched(Verdict::DropNotHeld);
    }
    Answered(Verdict::AnswerArp)
}

fn ipv4(frame: &[u8]) -> Expected {
    if frame.len() < 14 + 20 || frame[14] >> 4 != 4 {
        return Untouched(Verdict::PassMalformed);
    }
    let to = address(frame, 30);
    if !is_vip(to) {
        return Untouched(Verdict::PassNotVip);
    }
    if let Some(verdict) = refused(frame) {
        return Untouched(verdict);
    }
    match (frame[23], to, word(frame, 36)) {
        (1, ..) => echo(frame),
        (6, VIP, 99) | (17, VIP, 99) => Untouched(Verdict::DropNoBackend),
        (6, VIP, 100..=102) => Untouched(Verdict::DropInternal),
        (6, VIP, 80..=82 | 84) | (17, VIP, 80..=81) => Forwarded { nat: false },
        (6, VIP, 90 | 91 | 93..=96) | (17, VIP, 90..=91) if frame[22] > 1 => {
            Forwarded { nat: true }
        }
        (6, VIP, 90 | 91 | 93..=96) | (17, VIP, 90..=91) => Untouched(Verdict::DropTtl),
        _ => Untouched(Verdict::DropClosedPort),
    }
}

/// Why an IPv4 packet to a VIP can't be what we take.
fn refused(frame: &[u8]) -> Option<Verdict> {
    let total = usize::from(word(frame, 16));
    let there = total.min(frame.len() - 14);
    let needed = match frame[23] {
        6 => 20 + 20,
        _ => 20 + 8,
    };
    match frame[14] & 15 {
        0..5 => return Some(Verdict::DropMalformed),
        5 => {}
        _ => return Some(Verdict::DropIpOptions),
    }
    // More fragments, or an offset.
    if word(frame, 20) & 0x3fff != 0 {
        return Some(Verdict::DropFragment);
    }
    if ![1, 6, 17].contains(&frame[23]) {
        return Some(Verdict::DropVipProtocol);
    }
    if total > frame.len() - 14 || there < needed {
        return Some(Verdict::DropMalformed);
    }
    None
}

fn echo(frame: &[u8]) -> Expected {
    let (from, to) = (address(frame, 26), address(frame, 30));
    if word(frame, 34) != 0x0800 {
        return Untouched(Verdict::DropVipProtocol);
    }
    if !is_held(to) {
        return Untouched(Verdict::DropNotHeld);
    }
    if from[0] == 0 || from[0] >= 224 || from == to {
        return Untouched(Verdict::DropMalformed);
    }
    Answered(Verdict::AnswerEcho)
}
