//! IPv6: what IPv4's tables have, and extension headers.

use std::net::IpAddr;

use lb_common::verdict::Verdict;

use crate::{
    modes::{NOBODY_PORT, backend, client, lost_vip, server, unrouted, vip},
    packet::{Packet, arriving, echo_reply, framed},
    rig::{XDP_PASS, XDP_TX},
    row::{Row, check, row},
    site::{CLIENT_MAC, OWN, ROUTER_MAC, TCP, UDP, mac_of},
};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const OPTIONS: u8 = 60;
/// An option of padding that fills eight bytes with the two before it.
const PAD: [u8; 7] = [0, 1, 4, 0, 0, 0, 0];
/// A routing header whose way has ended.
const ROUTED: [u8; 7] = [0, 2, 0, 0, 0, 0, 0];
/// A fragment header of a packet that isn't one.
const ATOMIC: [u8; 7] = [0, 0, 0, 0, 0, 0, 9];

fn tcp(from: u16, port: u16, flags: &str) -> Packet {
    Packet::tcp(client(true, from), vip(true, port), flags)
}

fn udp(from: u16, port: u16, payload: &[u8]) -> Packet {
    Packet::udp(client(true, from), vip(true, port), payload)
}

/// As it leaves for a backend.
fn to(number: u16, packet: &Packet) -> Vec<u8> {
    framed(mac_of(number), OWN, &[], &packet.ip())
}

pub fn rows() -> Vec<Row> {
    let mut rows = direct();
    rows.extend(translated());
    rows.extend(back());
    rows.extend(extended());
    rows.extend(refused());
    rows.extend(echo());
    rows
}

fn direct() -> Vec<Row> {
    use Verdict::{ForwardAdopted, ForwardKnown, ForwardNew, ForwardUntracked};
    let mut marked = tcp(7, 80, "S").class(0xb9);
    marked.label = 0xa_bcde;
    let of = |protocol| backend(true, 80, protocol);
    [
        ("a SYN", ForwardNew, TCP, tcp(1, 80, "S")),
        ("its ACK", ForwardKnown, TCP, tcp(1, 80, "A")),
        (
            "data of an unknown flow",
            ForwardAdopted,
            TCP,
            tcp(2, 80, "PA").payload(b"odd"),
        ),
        ("a FIN of one", ForwardUntracked, TCP, tcp(3, 80, "FA")),
        ("a datagram", ForwardNew, UDP, udp(1, 80, b"odd")),
        ("another", ForwardKnown, UDP, udp(1, 80, b"more")),
        ("class and label stay", ForwardNew, TCP, marked),
        (
            "a hop limit of 1 is the backend's to see",
            ForwardNew,
            TCP,
            tcp(8, 80, "S").ttl(1),
        ),
        (
            "no checksum is the receiver's to judge",
            ForwardNew,
            UDP,
            udp(9, 80, b"x").unchecked(),
        ),
    ]
    .map(|(name, verdict, protocol, packet)| {
        let out = to(of(protocol), &packet);
        row(name, packet)
            .rfc("RFC 8200 3")
            .forwards(verdict, XDP_TX, of(protocol), out)
    })
    .into()
}

fn translated() -> Vec<Row> {
    use Verdict::{DropTtl, ForwardAdopted, ForwardKnown, ForwardNew};
    let mut rows: Vec<Row> = [
        ("a SYN", ForwardNew, TCP, 90, tcp(1, 90, "S")),
        (
            "data, odd",
            ForwardKnown,
            TCP,
            90,
            tcp(1, 90, "PA").payload(b"odd"),
        ),
        (
            "a full segment",
            ForwardAdopted,
            TCP,
            90,
            tcp(2, 90, "A").payload(&[0xa5; 1_440]),
        ),
        ("a datagram", ForwardNew, UDP, 90, udp(1, 90, b"who?")),
        ("an empty one", ForwardNew, UDP, 90, udp(2, 90, b"")),
        (
            "no checksum stays none",
            ForwardNew,
            UDP,
            90,
            udp(3, 90, b"x").unchecked(),
        ),
        ("a port that is kept", ForwardNew, TCP, 91, tcp(1, 91, "S")),
        (
            "a port that is kept, UDP",
            ForwardNew,
            UDP,
            91,
            udp(1, 91, b"?"),
        ),
        (
            "a hop limit of 2",
            ForwardNew,
            TCP,
            90,
            tcp(3, 90, "S").ttl(2),
        ),
    ]
    .into_iter()
    .map(|(name, verdict, protocol, port, packet)| {
        let number = backend(true, port, protocol);
        let at = server(true, number, if port == 90 { 8_080 } else { port });
        let out = to(number, &packet.clone().to(at).hop());
        row(name, packet)
            .rfc("RFC 3022 4.1, RFC 8200 8.1")
            .forwards(verdict, XDP_TX, number, out)
    })
    .collect();
    for ttl in [0, 1] {
        let dying = tcp(4, 90, "S").ttl(ttl);
        rows.push(row("no hop left", dying).rfc("RFC 8200 3").drops(DropTtl));
    }
    rows
}

fn back() -> Vec<Row> {
    use Verdict::{DropTtl, PassNotVip, ReturnKernel, ReturnNat};
    let number = backend(true, 90, TCP);
    let at = server(true, number, 8_080);
    let arriving = |packet: &Packet| framed(OWN, mac_of(number), &[], &packet.ip());
    let answer = Packet::tcp(at, client(true, 20), "SA");
    let syn = Packet::tcp(client(true, 20), vip(true, 90), "S");
    let home = framed(
        ROUTER_MAC,
        OWN,
        &[],
        &answer.clone().from(vip(true, 90)).hop().ip(),
    );
    let lost = Packet::tcp(at, unrouted(true, 20), "SA").ttl(1);
    let up = arriving(&lost.clone().from(vip(true, 90)));
    let kept = backend(true, 91, UDP);
    let kept_answer = Packet::udp(server(true, kept, 91), client(true, 20), b"odd");
    let kept_home = kept_answer.clone().from(vip(true, 91)).hop().ip();
    vec![
        row("an answer", arriving(&answer))
            .rfc("RFC 3022 4.1")
            .after([&syn])
            .returns(ReturnNat, XDP_TX, number, home),
        row(
            "an answer without a hop left",
            arriving(&answer.clone().ttl(1)),
        )
        .rfc("RFC 8200 3")
        .drops(DropTtl),
        row("an answer that the kernel routes", arriving(&lost))
            .after([&Packet::tcp(unrouted(true, 20), vip(true, 90), "S")])
            .returns(ReturnKernel, XDP_PASS, number, up),
        row("an answer from a port that is kept", arriving(&kept_answer))
            .after([&udp(20, 91, b"?")])
            .returns(
                ReturnNat,
                XDP_TX,
                kept,
                framed(ROUTER_MAC, OWN, &[], &kept_home),
            ),
        row(
            "a server's own connection",
            arriving(&Packet::tcp(at, client(true, 21), "S")),
        )
        .passes(PassNotVip),
    ]
}

/// A name, an RFC's section, and extension headers: kind and content.
type Chain<'a> = (&'static str, &'static str, &'a [(u8, &'a [u8])]);

/// Extension headers that go with their packets.
fn extended() -> Vec<Row> {
    let long = [&[31][..], &[1, 252], &[0; 252]].concat();
    let chains: [Chain<'_>; 8] = [
        ("hop-by-hop options", "RFC 8200 4.3", &[(HOP_BY_HOP, &PAD)]),
        ("destination options", "RFC 8200 4.6", &[(OPTIONS, &PAD)]),
        (
            "a routing header at its end",
            "RFC 8200 4.4",
            &[(ROUTING, &ROUTED)],
        ),
        ("an atomic fragment", "RFC 6946 4", &[(FRAGMENT, &ATOMIC)]),
        ("the longest", "", &[(OPTIONS, &long)]),
        (
            "four",
            "RFC 8200 4.1",
            &[
                (HOP_BY_HOP, &PAD),
                (OPTIONS, &PAD),
                (ROUTING, &ROUTED),
                (OPTIONS, &PAD),
            ],
        ),
        (
            "four of the longest",
            "",
            &[
                (OPTIONS, &long),
                (OPTIONS, &long),
                (OPTIONS, &long),
                (OPTIONS, &long),
            ],
        ),
        (
            "an atomic fragment with options",
            "RFC 6946 4",
            &[(FRAGMENT, &ATOMIC), (OPTIONS, &PAD)],
        ),
    ];
    let mut rows = Vec::new();
    for (place, (name, rfc, chain)) in chains.into_iter().enumerate() {
        for port in [80, 90] {
            let mut packet = tcp(30 + place as u16, port, "S");
            for (kind, body) in chain {
                packet = packet.extended(*kind, body);
            }
            let number = backend(true, port, TCP);
            let out = match port {
                80 => packet.clone(),
                _ => packet.clone().to(server(true, number, 8_080)).hop(),
            };
            rows.push(row(name, packet).rfc(rfc).forwards(
                Verdict::ForwardNew,
                XDP_TX,
                number,
                to(number, &out),
            ));
        }
    }
    rows
}

fn refused() -> Vec<Row> {
    use Verdict::{
        DropClosedPort, DropExtension, DropMalformed, DropNoBackend, DropVipProtocol,
        PassMalformed, PassNotVip,
    };
    let with = |chain: &[(u8, &[u8])]| {
        chain.iter().fold(tcp(50, 80, "S"), |packet, (kind, body)| {
            packet.extended(*kind, body)
        })
    };
    let too_long = [&[32][..], &[1, 254], &[0; 254], &[1, 4, 0, 0, 0, 0]].concat();
    let (to_go, odd) = ([0, 2, 1, 0, 0, 0, 0], [20, 1, 4, 0, 0, 0, 0]);
    let cut = |bytes: usize, length: u16| {
        let mut frame = arriving(&tcp(50, 80, "S").ip())[..bytes].to_vec();
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        frame
    };
    let mut version = arriving(&tcp(50, 80, "S").ip());
    version[14] = 0x45;
    let ends = (client(true, 0).ip(), vip(true, 0).ip());
    let elsewhere = |packet: Packet| packet.to(client(true, 51));
    let twice = with(&[(FRAGMENT, &ATOMIC), (FRAGMENT, &ATOMIC)]);
    let five = with(&[(OPTIONS, &PAD[..]); 5]);
    vec![
        row("a fifth header", five.clone()).drops(DropExtension),
        row("a fifth header to another address", elsewhere(five)).passes(PassNotVip),
        row("a header too long", with(&[(OPTIONS, &too_long)])).drops(DropExtension),
        row(
            "hop-by-hop options elsewhere",
            with(&[(OPTIONS, &PAD), (HOP_BY_HOP, &PAD)]),
        )
        .rfc("RFC 8200 4.1")
        .drops(DropExtension),
        row(
            "a routing header with a way to go",
            with(&[(ROUTING, &to_go)]),
        )
        .rfc("RFC 8200 4.4, RFC 5095")
        .drops(DropExtension),
        row("two fragment headers", twice).drops(DropExtension),
        row("a header beyond the packet", with(&[(OPTIONS, &odd)]))
            .rfc("RFC 8200 4.2")
            .drops(DropMalformed),
        row("half a header", cut(58, 4)).drops(DropMalformed),
        row("half a header, the payload longer", cut(58, 40)).drops(DropMalformed),
        row("a payload beyond the frame", cut(74, 21)).drops(DropMalformed),
        row("a payload too short for TCP", cut(74, 19)).drops(DropMalformed),
        row("an IPv6 header cut short", cut(53, 0)).passes(PassMalformed),
        row("version 4 in an IPv6 frame", version).passes(PassMalformed),
        row("authentication", with(&[(51, &[4; 15])])).drops(DropVipProtocol),
        row("no next header", Packet::other(ends.0, ends.1, 59))
            .rfc("RFC 8200 4.7")
            .drops(DropVipProtocol),
        row("SCTP", Packet::other(ends.0, ends.1, 132)).drops(DropVipProtocol),
        row(
            "ICMP of the other version",
            Packet::other(ends.0, ends.1, 1),
        )
        .drops(DropVipProtocol),
        row("a closed port", tcp(50, 22, "S")).drops(DropClosedPort),
        row("a closed port, UDP", udp(50, 22, b"?")).drops(DropClosedPort),
        row("no backend", tcp(50, NOBODY_PORT, "S")).drops(DropNoBackend),
        row("to another address", elsewhere(tcp(50, 80, "S"))).passes(PassNotVip),
    ]
}

fn echo() -> Vec<Row> {
    use Verdict::{AnswerEcho, DropMalformed, DropNotHeld, DropVipProtocol, PassNotVip};
    let (asker, vip) = (client(true, 0).ip(), vip(true, 0).ip());
    let from = |text: &str| Packet::echo(text.parse::<IpAddr>().expect("an address"), vip);
    let reply = |request: &Packet| framed(CLIENT_MAC, OWN, &[], &echo_reply(request).ip());
    let (plain, last) = (Packet::echo(asker, vip), Packet::echo(asker, vip).ttl(1));
    let odd = Packet::echo(asker, vip).payload(b"odd");
    let coded = Packet::icmp(asker, vip, 128, 1, 0);
    let mut rows: Vec<Row> = [plain, last, odd]
        .into_iter()
        .map(|request| {
            let out = reply(&request);
            row("an echo", request)
                .rfc("RFC 4443 4.2")
                .answers(AnswerEcho, out)
        })
        .collect();
    let extended = Packet::echo(asker, vip).extended(OPTIONS, &PAD);
    rows.extend([
        row("an echo behind options", extended).drops(DropVipProtocol),
        row("an echo with a code", coded).drops(DropVipProtocol),
        row("an echo's answer", Packet::icmp(asker, vip, 129, 0, 1)).drops(DropVipProtocol),
        row(
            "an advertisement for the VIP",
            Packet::icmp(asker, vip, 136, 0, 0),
        )
        .drops(DropVipProtocol),
        row(
            "half a message",
            Packet::other(asker, vip, 58).payload(&[128, 0, 0, 0]),
        )
        .drops(DropMalformed),
        row(
            "an echo after the lease",
            Packet::echo(asker, lost_vip(true)),
        )
        .drops(DropNotHeld),
        row("an echo to another address", Packet::echo(asker, asker)).passes(PassNotVip),
        row("from nowhere", from("::"))
            .rfc("RFC 4291 2.5.2")
            .drops(DropMalformed),
        row("from a loopback address", from("::1"))
            .rfc("RFC 4291 2.5.3")
            .drops(DropMalformed),
        row("from a group", from("ff02::1"))
            .rfc("RFC 4291 2.7")
            .drops(DropMalformed),
        row("from the VIP itself", Packet::echo(vip, vip)).drops(DropMalformed),
    ]);
    rows
}

#[test]
fn the_other_version() {
    check(&rows());
}
