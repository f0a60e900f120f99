//! What is none of our business: every byte stays as it is.

use etherparse::EtherType;
use lb_common::verdict::Verdict;

use crate::{
    frame::{Frame, arp, arp_request, ethernet},
    row::{Row, check, row},
    site::{BROADCAST, CLIENT, CLIENT_MAC, NOT_VIP, OWN, VIP},
};

const ELSEWHERE: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// A frame of some type with arbitrary content.
fn some(ether_type: u16) -> Vec<u8> {
    let mut bytes = ethernet(OWN, CLIENT_MAC, EtherType(ether_type));
    bytes.extend((0u8..50).map(|i| i.wrapping_mul(37)));
    bytes
}

/// An IPv4 frame with one byte changed.
fn odd(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = Frame::tcp((CLIENT, 1), (VIP, 80), "S").bytes();
    bytes[at] = byte;
    bytes
}

pub fn rows() -> Vec<Row> {
    use Verdict::{PassArp, PassGroup, PassMalformed, PassNotVip, PassOtherHost, PassProtocol};
    let syn = |to| Frame::tcp((CLIENT, 1), (to, 80), "S");
    let options = |ip: &mut etherparse::Ipv4Header| {
        ip.options = [7, 3, 4, 0].into();
    };
    vec![
        row("version 0 in an IPv6 frame", some(0x86dd)).passes(PassMalformed),
        row("LLDP", some(0x88cc)).passes(PassProtocol),
        row("a length instead of a type", some(0x0026)).passes(PassProtocol),
        row(
            "an Ethernet header alone",
            ethernet(OWN, CLIENT_MAC, EtherType(0x88cc)),
        )
        .passes(PassProtocol),
        row("TCP to another host", syn(VIP).macs(CLIENT_MAC, ELSEWHERE)).passes(PassOtherHost),
        row("TCP to everybody", syn(VIP).macs(CLIENT_MAC, BROADCAST))
            .rfc("RFC 1122 3.3.6")
            .passes(PassGroup),
        row(
            "IPv4 multicast",
            syn([224, 0, 0, 18]).macs(CLIENT_MAC, [1, 0, 0x5e, 0, 0, 18]),
        )
        .rfc("RFC 1112 6.4")
        .passes(PassGroup),
        row(
            "ARP to another host",
            arp(
                ELSEWHERE,
                CLIENT_MAC,
                &arp_request((CLIENT_MAC, CLIENT), VIP),
            ),
        )
        .passes(PassOtherHost),
        row(
            "ARP for another address",
            arp(
                BROADCAST,
                CLIENT_MAC,
                &arp_request((CLIENT_MAC, CLIENT), NOT_VIP),
            ),
        )
        .passes(PassArp),
        row("TCP to another address", syn(NOT_VIP)).passes(PassNotVip),
        row(
            "UDP to another address",
            Frame::udp((CLIENT, 1), (NOT_VIP, 80), b"odd"),
        )
        .passes(PassNotVip),
        row(
            "ICMP to another address",
            Frame::echo(CLIENT, NOT_VIP, b"x"),
        )
        .passes(PassNotVip),
        row(
            "SCTP to another address",
            Frame::other(CLIENT, NOT_VIP, 132),
        )
        .passes(PassNotVip),
        row(
            "TCP from the VIP's address",
            Frame::tcp((VIP, 80), (CLIENT, 1), "SA"),
        )
        .passes(PassNotVip),
        row("options to another address", syn(NOT_VIP).ip(options)).passes(PassNotVip),
        row(
            "a fragment to another address",
            syn(NOT_VIP).ip(|ip| ip.more_fragments = true),
        )
        .passes(PassNotVip),
        row("padding to another address", syn(NOT_VIP).padded()).passes(PassNotVip),
        row("version 6 in an IPv4 frame", odd(14, 0x65)).passes(PassMalformed),
        row("version 0", odd(14, 0x05)).passes(PassMalformed),
        row("an IPv4 header cut short", syn(VIP).bytes()[..33].to_vec()).passes(PassMalformed),
    ]
}

#[test]
fn none_of_our_business() {
    check(&rows());
}
