//! VLAN tags: those of the next hop are put in the place of those that came; answers keep
//! theirs.

use lb_common::verdict::Verdict;

use crate::{
    frame::{arp, arp_request},
    modes::{VERSIONS, backend, client, far_client, server, vip},
    packet::{Packet, Tags, arriving, echo_reply, framed, tagged},
    rig::{XDP_REDIRECT, XDP_TX},
    row::{Row, check, row},
    site::{
        BROADCAST, CLIENT, CLIENT_MAC, FAR_ROUTER_MAC, OTHER, OWN, ROUTER_MAC, TCP, VIP, mac_of,
    },
};

const C: u16 = 0x8100;
const S: u16 = 0x88a8;

/// What came, the service's port, what goes: the ways there have no tag (80), one
/// customer tag of VLAN 5 (81), a service tag of 100 around a customer tag of 6 (82).
const REWRITES: [(&str, Tags<'static>, u16, Tags<'static>); 17] = [
    ("none, none", &[], 80, &[]),
    ("one is taken away", &[(C, 0x602a)], 80, &[]),
    ("a service tag is taken away", &[(S, 42)], 80, &[]),
    ("two are taken away", &[(S, 0xe007), (C, 9)], 80, &[]),
    ("one is put", &[], 81, &[(C, 5)]),
    ("two are put", &[], 82, &[(S, 100), (C, 6)]),
    (
        "the same stays, with its priority",
        &[(C, 0xa005)],
        81,
        &[(C, 0xa005)],
    ),
    (
        "the same two stay, with theirs",
        &[(S, 0xe064), (C, 0x5006)],
        82,
        &[(S, 0xe064), (C, 0x5006)],
    ),
    (
        "another VLAN's priority is kept",
        &[(C, 0x602a)],
        81,
        &[(C, 0x6005)],
    ),
    ("drop eligible too", &[(C, 0xb02a)], 81, &[(C, 0xb005)]),
    (
        "the other type is another tag",
        &[(S, 0x2005)],
        81,
        &[(C, 0x2005)],
    ),
    (
        "one becomes two",
        &[(C, 0xa009)],
        82,
        &[(S, 0xa064), (C, 6)],
    ),
    (
        "two become one",
        &[(S, 0x6007), (C, 0x2009)],
        81,
        &[(C, 0x6005)],
    ),
    (
        "one of two differs",
        &[(S, 0x6064), (C, 0x2009)],
        82,
        &[(S, 0x6064), (C, 6)],
    ),
    (
        "a priority tag counts for none",
        &[(C, 0x6000)],
        80,
        &[(C, 0x6000)],
    ),
    (
        "two of them likewise",
        &[(S, 0x6000), (C, 0)],
        80,
        &[(S, 0x6000), (C, 0)],
    ),
    ("its priority is kept", &[(C, 0x6000)], 81, &[(C, 0x6005)]),
];

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for six in VERSIONS {
        for (from, (name, came, port, goes)) in (1..).zip(REWRITES) {
            let syn = Packet::tcp(client(six, from), vip(six, port), "S").ip();
            let number = backend(six, port, TCP);
            rows.push(
                row(name, framed(OWN, CLIENT_MAC, came, &syn))
                    .rfc("IEEE 802.1Q 6.9")
                    .forwards(
                        Verdict::ForwardNew,
                        XDP_TX,
                        number,
                        framed(mac_of(number), OWN, goes, &syn),
                    ),
            );
        }
        rows.extend(translated(six));
        rows.extend(answers(six));
        rows.extend(foreign(six));
    }
    rows
}

/// Both ways of `nat`; the servers are in a VLAN, the far clients in another.
fn translated(six: bool) -> Vec<Row> {
    use Verdict::{ForwardNew, ReturnNat};
    let number = backend(six, 92, TCP);
    let at = server(six, number, 8_080);
    let mut rows = Vec::new();
    for (client, mac, source, router, goes, action) in [
        (client(six, 50), OWN, OWN, ROUTER_MAC, &[][..], XDP_TX),
        (
            far_client(six, 50),
            OWN,
            OTHER,
            FAR_ROUTER_MAC,
            &[(C, 0x4005)][..],
            XDP_REDIRECT,
        ),
    ] {
        let syn = Packet::tcp(client, vip(six, 92), "S");
        let answer = Packet::tcp(at, client, "SA");
        let out = framed(
            mac_of(number),
            OWN,
            &[(C, 5)],
            &syn.clone().to(at).hop().ip(),
        );
        let back = answer.clone().from(vip(six, 92)).hop();
        rows.push(row("into the servers' VLAN", syn).forwards(ForwardNew, XDP_TX, number, out));
        rows.push(
            row(
                "out of the servers' VLAN",
                framed(mac, mac_of(number), &[(C, 0x4005)], &answer.ip()),
            )
            .returns(
                ReturnNat,
                action,
                number,
                framed(router, source, goes, &back.ip()),
            ),
        );
    }
    rows
}

/// They go back as they came.
fn answers(six: bool) -> Vec<Row> {
    let kinds: [Tags<'_>; 3] = [&[(C, 0x602a)], &[(S, 0x6064), (C, 0xa006)], &[(C, 0xe000)]];
    let mut rows = Vec::new();
    for tags in kinds {
        let echo = Packet::echo(client(six, 0).ip(), vip(six, 0).ip());
        let reply = framed(CLIENT_MAC, OWN, tags, &echo_reply(&echo).ip());
        rows.push(
            row("an echo", framed(OWN, CLIENT_MAC, tags, &echo.ip()))
                .rfc("RFC 1122 3.2.2.6, RFC 4443 4.2")
                .answers(Verdict::AnswerEcho, reply),
        );
        if six {
            continue;
        }
        let request = arp_request((CLIENT_MAC, CLIENT), VIP);
        let mut reply = request.clone();
        reply.operation = etherparse::ArpOperation::REPLY;
        (reply.sender_mac, reply.sender_ipv4) = (OWN, VIP);
        (reply.target_mac, reply.target_ipv4) = (CLIENT_MAC, CLIENT);
        rows.push(
            row(
                "an ARP request",
                tagged(arp(BROADCAST, CLIENT_MAC, &request), tags),
            )
            .rfc("RFC 826")
            .answers(
                Verdict::AnswerArp,
                tagged(arp(CLIENT_MAC, OWN, &reply), tags),
            ),
        );
    }
    rows
}

fn foreign(six: bool) -> Vec<Row> {
    use Verdict::{PassMalformed, PassNotVip, PassOtherHost, PassProtocol};
    let syn = Packet::tcp(client(six, 60), vip(six, 80), "S").ip();
    let ours = |tags: Tags<'_>| framed(OWN, CLIENT_MAC, tags, &syn);
    let two: Tags<'_> = &[(S, 7), (C, 7)];
    let elsewhere = Packet::tcp(client(six, 60), client(six, 61), "S").ip();
    vec![
        row("a third tag", ours(&[(S, 7), (S, 7), (C, 7)])).passes(PassProtocol),
        row("a tag of a type of its own", ours(&[(0x9100, 7)])).passes(PassProtocol),
        row("the end in the first tag", ours(two)[..15].to_vec()).passes(PassMalformed),
        row("the end behind the first tag", ours(two)[..17].to_vec()).passes(PassMalformed),
        row("the end in the second tag", ours(two)[..20].to_vec()).passes(PassMalformed),
        row("the end in the EtherType", ours(two)[..21].to_vec()).passes(PassMalformed),
        row("the end behind the tags", ours(two)[..22].to_vec()).passes(PassMalformed),
        row(
            "to another host",
            framed([2, 0, 0, 0, 9, 9], CLIENT_MAC, two, &syn),
        )
        .passes(PassOtherHost),
        row(
            "to nobody of ours",
            tagged(arriving(&elsewhere), &[(C, 0x602a)]),
        )
        .passes(PassNotVip),
    ]
}

#[test]
fn vlan_tags() {
    check(&rows());
}
