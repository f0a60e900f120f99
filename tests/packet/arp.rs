//! ARP for the VIPs.

use etherparse::{ArpEthIpv4Packet, ArpOperation};
use lb_common::verdict::Verdict;

use crate::{
    frame::{arp, arp_request},
    row::{Row, check, row},
    site::{
        self, BROADCAST, CLIENT, CLIENT_MAC, EXPIRED, LEASED, LEASED_GROUP, NOT_VIP, OWN, VIP,
        monotonic_ns,
    },
};

fn request(target: [u8; 4]) -> ArpEthIpv4Packet {
    arp_request((CLIENT_MAC, CLIENT), target)
}

fn reply(vip: [u8; 4]) -> Vec<u8> {
    let packet = ArpEthIpv4Packet {
        operation: ArpOperation::REPLY,
        sender_mac: OWN,
        sender_ipv4: vip,
        target_mac: CLIENT_MAC,
        target_ipv4: CLIENT,
    };
    arp(CLIENT_MAC, OWN, &packet)
}

/// A request for the VIP with two bytes changed.
fn odd(at: usize, word: u16) -> Vec<u8> {
    let mut bytes = arp(BROADCAST, CLIENT_MAC, &request(VIP));
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
    bytes
}

pub fn rows() -> Vec<Row> {
    let broadcast = |packet: &ArpEthIpv4Packet| arp(BROADCAST, CLIENT_MAC, packet);
    let mut unpadded = broadcast(&request(VIP));
    unpadded.truncate(42);
    let mut unpadded_reply = reply(VIP);
    unpadded_reply.truncate(42);
    let mut short = unpadded.clone();
    short.truncate(41);
    let probe = ArpEthIpv4Packet {
        sender_ipv4: [0; 4],
        ..request(VIP)
    };
    let probe_reply = ArpEthIpv4Packet {
        operation: ArpOperation::REPLY,
        sender_mac: OWN,
        sender_ipv4: VIP,
        target_mac: CLIENT_MAC,
        target_ipv4: [0; 4],
    };
    let announcement = ArpEthIpv4Packet {
        sender_ipv4: VIP,
        ..request(VIP)
    };
    let an_answer = ArpEthIpv4Packet {
        operation: ArpOperation::REPLY,
        ..request(VIP)
    };
    let stale = ArpEthIpv4Packet {
        target_mac: [9; 6],
        ..request(VIP)
    };
    use Verdict::{AnswerArp, DropNotHeld, PassArp, PassMalformed, PassOtherHost};
    vec![
        row("a request", broadcast(&request(VIP)))
            .rfc("RFC 826")
            .answers(AnswerArp, reply(VIP)),
        row("a request without padding", unpadded)
            .rfc("RFC 826")
            .answers(AnswerArp, unpadded_reply),
        row("a request to our MAC", arp(OWN, CLIENT_MAC, &request(VIP)))
            .rfc("RFC 1122 2.3.2.1")
            .answers(AnswerArp, reply(VIP)),
        row("a request with a target MAC in it", broadcast(&stale)).answers(AnswerArp, reply(VIP)),
        row("a probe", broadcast(&probe))
            .rfc("RFC 5227 2.1.1")
            .answers(AnswerArp, arp(CLIENT_MAC, OWN, &probe_reply)),
        row("a request under a lease", broadcast(&request(LEASED)))
            .answers(AnswerArp, reply(LEASED)),
        row("a request after the lease", broadcast(&request(EXPIRED))).drops(DropNotHeld),
        row(
            "a request for another address",
            broadcast(&request(NOT_VIP)),
        )
        .passes(PassArp),
        row("an announcement", broadcast(&announcement))
            .rfc("RFC 5227 3")
            .passes(PassArp),
        row("a reply", broadcast(&an_answer)).passes(PassArp),
        row("a reply to us", arp(OWN, CLIENT_MAC, &an_answer)).passes(PassArp),
        row("other hardware", odd(14, 6)).passes(PassArp),
        row("another protocol", odd(16, 0x86dd)).passes(PassArp),
        row("another hardware length", odd(18, 0x0804)).passes(PassArp),
        row("another protocol length", odd(18, 0x0610)).passes(PassArp),
        row("another operation", odd(20, 3)).passes(PassArp),
        row(
            "a request to another host",
            arp([2, 0, 0, 0, 9, 9], CLIENT_MAC, &request(VIP)),
        )
        .passes(PassOtherHost),
        row("a request without its last byte", short).passes(PassMalformed),
    ]
}

#[test]
fn arp_for_the_vips() {
    check(&rows());
}

/// The daemon renews the deadline; when it doesn't, the answers end by themselves.
#[test]
fn a_lease_ends_by_itself() {
    let mut rig = site::rig();
    let packet = arp(BROADCAST, CLIENT_MAC, &request(LEASED));
    let deadline = monotonic_ns() + 30_000_000;
    let lease = rig.tables.lease(LEASED_GROUP);
    lease.hold_until(deadline);
    let mut answers = 0;
    loop {
        let before = monotonic_ns();
        let verdict = rig.send(&packet).verdict;
        let after = monotonic_ns();
        match verdict {
            Verdict::AnswerArp => assert!(before < deadline, "answered after the deadline"),
            Verdict::DropNotHeld => {
                assert!(after >= deadline, "silent before the deadline");
                break;
            }
            other => panic!("{other:?}"),
        }
        answers += 1;
        assert!(before < deadline + 5_000_000_000, "still answering");
    }
    assert!(answers > 0);
    lease.hold_until(monotonic_ns() + 3_600_000_000_000);
    assert_eq!(rig.send(&packet).verdict, Verdict::AnswerArp, "renewed");
}
