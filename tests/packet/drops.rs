//! What ends here, and why.

use lb_common::verdict::Verdict;

use crate::{
    frame::Frame,
    row::{Row, check, row},
    site::{CLIENT, EXPIRED, LEASED, VIP},
};

fn syn(port: u16) -> Frame {
    Frame::tcp((CLIENT, 1), (VIP, port), "S")
}

/// A SYN with one byte changed.
fn odd(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = syn(80).bytes();
    bytes[at] = byte;
    bytes
}

pub fn rows() -> Vec<Row> {
    let mut rows = ports();
    rows.extend(headers());
    rows
}

fn ports() -> Vec<Row> {
    use Verdict::{DropClosedPort, DropInternal, DropNoBackend, DropVipProtocol};
    let udp = |port| Frame::udp((CLIENT, 1), (VIP, port), b"?");
    vec![
        row("a closed port", syn(22)).drops(DropClosedPort),
        row("a closed port, UDP", udp(22)).drops(DropClosedPort),
        row("a service's port by the other protocol", udp(84)).drops(DropClosedPort),
        row("port 0", syn(0)).drops(DropClosedPort),
        row(
            "a closed port of a leased VIP",
            syn(80).destined((LEASED, 80)),
        )
        .drops(DropClosedPort),
        row(
            "a closed port of a VIP without a lease",
            syn(80).destined((EXPIRED, 80)),
        )
        .drops(DropClosedPort),
        row("no backend", syn(99)).drops(DropNoBackend),
        row(
            "no backend, mid-stream",
            Frame::tcp((CLIENT, 1), (VIP, 99), "PA"),
        )
        .drops(DropNoBackend),
        row("no backend, RST", Frame::tcp((CLIENT, 1), (VIP, 99), "R")).drops(DropNoBackend),
        row("no backend, UDP", udp(99)).drops(DropNoBackend),
        row("SCTP", Frame::other(CLIENT, VIP, 132)).drops(DropVipProtocol),
        row("IPv6 in IPv4", Frame::other(CLIENT, VIP, 41)).drops(DropVipProtocol),
        row("a wheel that names backend 0", syn(100)).drops(DropInternal),
        row("a backend without a forwarding mode", syn(101)).drops(DropInternal),
    ]
}

fn headers() -> Vec<Row> {
    use Verdict::{DropFragment, DropMalformed};
    let fragment = |more, offset: u16| {
        syn(80).ip(|ip| {
            (ip.dont_fragment, ip.more_fragments) = (false, more);
            ip.fragment_offset = offset.try_into().expect("13 bits");
        })
    };
    let cut = |length: usize| syn(80).bytes()[..length].to_vec();
    vec![
        row(
            "a middle fragment before the first",
            fragment(true, 64).ip(|ip| ip.identification = 9),
        )
        .rfc("RFC 791 3.1")
        .drops(DropFragment),
        row(
            "the last fragment before the first",
            fragment(false, 0x1fff).ip(|ip| ip.identification = 9),
        )
        .rfc("RFC 791 3.1")
        .drops(DropFragment),
        row("a header length of 4", odd(14, 0x44))
            .rfc("RFC 791 3.1")
            .drops(DropMalformed),
        row("a header length of 0", odd(14, 0x40)).drops(DropMalformed),
        row("a total length beyond the frame", odd(17, 41)).drops(DropMalformed),
        row("a total length below the headers", odd(17, 39)).drops(DropMalformed),
        row("a total length of 0", odd(17, 0)).drops(DropMalformed),
        row("a TCP header cut short", cut(53)).drops(DropMalformed),
        row("no TCP header", cut(34)).drops(DropMalformed),
    ]
}

#[test]
fn what_ends_here() {
    check(&rows());
}
