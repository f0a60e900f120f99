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
    /// Where its first fragment went; nowhere if that hasn't come.
    Followed,
}

use Expected::{Answered, Followed, Forwarded, Untouched};

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

/// What must become of an untagged frame, or a tagged one that we don't send on, that
/// belongs to no flow back from a server.
pub fn expected(frame: &[u8]) -> Expected {
    let mut tags = 0;
    while tags < 2 && [0x8100, 0x88a8].contains(&word(frame, 12 + tags * 4)) {
        tags += 1;
        if frame.len() < 14 + tags * 4 {
            return Untouched(Verdict::PassMalformed);
        }
    }
    let ether_type = word(frame, 12 + tags * 4);
    let behind = &frame[tags * 4..];
    let ours = frame[..6] == OWN;
    let group = frame[0] & 1 == 1;
    match ether_type {
        0x0806 if ours || group => arp(behind),
        0x0800 | 0x86dd if group => Untouched(Verdict::PassGroup),
        0x0800 if ours => ipv4(behind),
        0x86dd if ours && (behind.len() < 14 + 40 || behind[14] >> 4 != 6) => {
            Untouched(Verdict::PassMalformed)
        }
        0x86dd if ours => Untouched(Verdict::PassNotVip),
        0x0800 | 0x0806 | 0x86dd => Untouched(Verdict::PassOtherHost),
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
    let head = header(frame);
    let total = usize::from(word(frame, 16));
    if head < 20 || total < head || total > frame.len() - 14 {
        return Untouched(Verdict::DropMalformed);
    }
    let protocol = frame[23];
    let (more, offset) = (frame[20] & 0x20 != 0, word(frame, 20) & 0x1fff);
    let needed = match protocol {
        6 => 20,
        17 => 8,
        1 if more || offset != 0 => return Untouched(Verdict::DropFragment),
        1 => 8,
        _ => return Untouched(Verdict::DropVipProtocol),
    };
    if offset != 0 {
        return Followed;
    }
    if total < head + needed {
        return Untouched(Verdict::DropMalformed);
    }
    match (protocol, to, word(frame, 14 + head + 2)) {
        (1, ..) => icmp(frame),
        (6, VIP, 99) | (17, VIP, 99) => Untouched(Verdict::DropNoBackend),
        (6, VIP, 100..=101) => Untouched(Verdict::DropInternal),
        (6, VIP, 80..=82 | 84) | (17, VIP, 80..=81) => Forwarded { nat: false },
        (6, VIP, 90 | 91 | 93..=96) | (17, VIP, 90..=91) if frame[22] > 1 => {
            Forwarded { nat: true }
        }
        (6, VIP, 90 | 91 | 93..=96) | (17, VIP, 90..=91) => Untouched(Verdict::DropTtl),
        _ => Untouched(Verdict::DropClosedPort),
    }
}

/// Bytes of the IPv4 header.
pub fn header(frame: &[u8]) -> usize {
    usize::from(frame[14] & 15) * 4
}

fn icmp(frame: &[u8]) -> Expected {
    let (from, to) = (address(frame, 26), address(frame, 30));
    let at = 14 + header(frame);
    // Errors: none of these frames quotes a flow.
    if [3, 11, 12].contains(&frame[at]) {
        return Untouched(Verdict::DropError);
    }
    if word(frame, at) != 0x0800 || header(frame) != 20 {
        return Untouched(Verdict::DropVipProtocol);
    }
    if !is_held(to) {
        return Untouched(Verdict::DropNotHeld);
    }
    if from[0] == 0 || from[0] == 127 || from[0] >= 224 || from == to {
        return Untouched(Verdict::DropMalformed);
    }
    Answered(Verdict::AnswerEcho)
}
