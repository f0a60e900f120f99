//! Too long for the way: the sender is told.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_common::verdict::Verdict;

use crate::{
    modes::{NARROW, VERSIONS, backend, client, far_client, server, vip},
    packet::{Packet, Tags, arriving, framed, too_big},
    rig::XDP_TX,
    row::{Row, check, row},
    site::{self, CLIENT_MAC, OWN, TCP, UDP, mac_of},
};

/// A segment whose IP packet is so long.
fn long(from: SocketAddr, to: SocketAddr, length: u16) -> Packet {
    let headers = if from.is_ipv4() { 40 } else { 60 };
    Packet::tcp(from, to, "PA").payload(&vec![0xa5; usize::from(length) - headers])
}

pub fn rows() -> Vec<Row> {
    VERSIONS
        .into_iter()
        .flat_map(|six| {
            let mut rows = forth(six);
            rows.extend(back(six));
            rows
        })
        .collect()
}

const RFC: &str = "RFC 1191 4, RFC 1812 4.3.2.3, RFC 4443 3.2";

fn forth(six: bool) -> Vec<Row> {
    use Verdict::{AnswerTooBig, DropTooBig, ForwardAdopted};
    let mut rows = Vec::new();
    // Port, what the way takes, and what outer headers take of that.
    for (port, way, overhead) in [
        (83, NARROW, 0),
        (93, NARROW, 0),
        (73, NARROW, 0),
        (60, 1_500, 20),
        (61, 1_500, 40),
        (62, 1_500, 28),
        (63, 1_500, 48),
        (65, 1_500, 48),
    ] {
        let fits = way - overhead;
        let tags: Tags<'_> = &[(0x88a8, 0x6064), (0x8100, 0xa009)];
        for (name, length, tags) in [
            ("one byte too long", fits + 1, &[][..]),
            ("much too long", 2_000, &[]),
            ("too long, with tags", fits + 100, tags),
        ] {
            let packet = long(client(six, 1), vip(six, port), length);
            let told = too_big(&packet.ip(), fits.into());
            rows.push(
                row(
                    format!("{name}, to {port}"),
                    framed(OWN, CLIENT_MAC, tags, &packet.ip()),
                )
                .rfc(RFC)
                .answers(AnswerTooBig, framed(CLIENT_MAC, OWN, tags, &told.ip())),
            );
        }
        let length = usize::from(fits) + 1 - if six { 48 } else { 28 };
        let datagram = Packet::udp(client(six, 1), vip(six, port), &vec![3; length]).unchecked();
        let told = framed(
            CLIENT_MAC,
            OWN,
            &[],
            &too_big(&datagram.ip(), fits.into()).ip(),
        );
        rows.push(
            row(format!("a datagram to {port}"), datagram)
                .rfc(RFC)
                .answers(AnswerTooBig, told),
        );
    }
    let packet = long(client(six, 2), vip(six, 83), NARROW);
    let number = backend(six, 83, TCP);
    let out = framed(mac_of(number), OWN, &[], &packet.ip());
    rows.push(row("just short enough", packet).forwards(ForwardAdopted, XDP_TX, number, out));
    let padded = [
        &arriving(&long(client(six, 2), vip(six, 83), NARROW).ip())[..],
        &[7; 99],
    ]
    .concat();
    let out = framed(mac_of(number), OWN, &[], &padded[14..]);
    rows.push(
        row("padding is no part of the packet", padded)
            .rfc("RFC 894")
            .forwards(Verdict::ForwardKnown, XDP_TX, number, out),
    );
    let nobody: [&str; 3] = if six {
        ["[::]:1", "[::1]:1", "[ff02::1]:1"]
    } else {
        ["0.1.2.3:1", "127.0.0.1:1", "224.0.0.1:1"]
    };
    for source in nobody {
        let from = source.parse().expect("an address");
        rows.push(
            row(
                format!("from {source}"),
                long(from, vip(six, 83), NARROW + 1),
            )
            .rfc("RFC 1812 4.3.2.7, RFC 4443 2.4 (e)")
            .drops(DropTooBig),
        );
    }
    rows
}

/// A server's answers to far clients. It is told in the terms that it knows.
fn back(six: bool) -> Vec<Row> {
    use Verdict::AnswerTooBig;
    let (number, far) = (backend(six, 90, TCP), far_client(six, 1));
    let at = server(six, number, 8_080);
    let arriving = |packet: &[u8]| framed(OWN, mac_of(number), &[], packet);
    let answer = long(at, far, NARROW + 1).ip();
    let told = too_big(&answer, NARROW.into()).ip();
    let udp = backend(six, 90, UDP);
    let datagram = Packet::udp(server(six, udp, 8_080), far, &[9; 1_400]).ip();
    let datagram_told = too_big(&datagram, NARROW.into()).ip();
    vec![
        row("an answer", arriving(&answer))
            .rfc(RFC)
            .after([&Packet::tcp(far, vip(six, 90), "S")])
            .answers(AnswerTooBig, framed(mac_of(number), OWN, &[], &told)),
        row("an answer by UDP", arriving(&datagram))
            .rfc(RFC)
            .after([&Packet::udp(far, vip(six, 90), b"?")])
            .answers(
                AnswerTooBig,
                framed(mac_of(number), OWN, &[], &datagram_told),
            ),
    ]
}

#[test]
fn senders_are_told() {
    check(&rows());
}

/// RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f).
#[test]
fn a_thousand_a_second_are_told() {
    let mut rig = site::rig();
    let packet = arriving(&long(client(false, 1), vip(false, 83), NARROW + 1).ip());
    let start = Instant::now();
    let mut told = 0u64;
    while rig.send(&packet).verdict == Verdict::AnswerTooBig {
        told += 1;
        assert!(start.elapsed() < Duration::from_secs(20), "{told} told");
    }
    let windows = start.elapsed().as_nanos() as u64 / (1 << 30) + 2;
    assert!((1_000..=1_000 * windows).contains(&told), "{told} told");
    assert_eq!(rig.send(&packet).verdict, Verdict::DropTooBig);
    // In the next second they are told again.
    while rig.send(&packet).verdict == Verdict::DropTooBig {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody is told");
    }
}
