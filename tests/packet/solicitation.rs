//! Neighbour solicitations for the VIPs.

use std::net::{IpAddr, Ipv6Addr};

use lb_common::{abi::Mac, verdict::Verdict};

use crate::{
    modes::{client, lost_vip, vip},
    packet::{Packet, Tags, framed},
    row::{Row, check, row},
    site::{CLIENT_MAC, OWN},
};

const SOLICIT: u8 = 135;
const SOLICITED_AND_OVERRIDE: u32 = 0x6000_0000;
const OVERRIDE: u32 = 0x2000_0000;
const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];

fn octets(address: IpAddr) -> [u8; 16] {
    let IpAddr::V6(address) = address else {
        panic!("IPv6")
    };
    address.octets()
}

/// The group that a solicitation for `target` goes to (RFC 4291 section 2.7.1), and its
/// MAC address (RFC 2464 section 7).
fn group(target: IpAddr) -> (IpAddr, Mac) {
    let [.., a, b, c] = octets(target);
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
    (group.into(), [0x33, 0x33, 0xff, a, b, c])
}

/// A solicitation for `target` with these options.
fn ask(from: IpAddr, to: IpAddr, target: IpAddr, options: &[u8]) -> Packet {
    Packet::icmp(from, to, SOLICIT, 0, 0)
        .payload(&[&octets(target), options].concat())
        .ttl(255)
}

/// "My MAC address is the client's."
fn source() -> Vec<u8> {
    [&[1, 1][..], &CLIENT_MAC].concat()
}

/// The advertisement of a VIP as ours.
fn advertisement(vip: IpAddr, to: IpAddr, flags: u32) -> Packet {
    Packet::icmp(vip, to, 136, 0, flags)
        .payload(&[&octets(vip)[..], &[2, 1], &OWN].concat())
        .ttl(255)
}

pub fn rows() -> Vec<Row> {
    let mut rows = answered();
    rows.extend(left_to_the_kernel());
    rows.extend(malformed());
    rows
}

/// What says that it is for the VIP and isn't to be believed: told by its MAC address.
fn malformed() -> Vec<Row> {
    let (asker, vip) = (client(true, 0).ip(), vip(true, 0).ip());
    let (all, mac) = group(vip);
    let ways = [
        (mac, all, Verdict::PassGroup, Verdict::PassGroup),
        (OWN, vip, Verdict::PassNeighbour, Verdict::DropMalformed),
    ];
    let mut rows = Vec::new();
    for (mac, to, verdict, cut) in ways {
        let asked = |packet: &Packet| framed(mac, CLIENT_MAC, &[], &packet.ip());
        let usual = ask(asker, to, vip, &source());
        let short = Packet::icmp(asker, to, SOLICIT, 0, 0).payload(&octets(vip)[..15]);
        let mut beyond = asked(&usual);
        beyond.truncate(beyond.len() - 1);
        rows.extend([
            row("from beyond the link", asked(&usual.ttl(254)))
                .rfc("RFC 4861 7.1.1")
                .passes(verdict),
            row("too short", asked(&short.ttl(255)))
                .rfc("RFC 4861 7.1.1")
                .passes(verdict),
            match cut {
                Verdict::PassGroup => row("longer than its frame", beyond).passes(cut),
                _ => row("longer than its frame", beyond).drops(cut),
            },
            row("for a group", asked(&ask(asker, to, all, &source())))
                .rfc("RFC 4861 7.1.1")
                .passes(verdict),
        ]);
    }
    rows
}

fn answered() -> Vec<Row> {
    use Verdict::{AnswerSolicitation, DropNotHeld};
    let (asker, vip) = (client(true, 0).ip(), vip(true, 0).ip());
    let (all, mac) = group(vip);
    let reply = |tags: Tags<'_>| {
        let out = advertisement(vip, asker, SOLICITED_AND_OVERRIDE).ip();
        framed(CLIENT_MAC, OWN, tags, &out)
    };
    let asked = |to: Mac, packet: &Packet| framed(to, CLIENT_MAC, &[], &packet.ip());
    let usual = ask(asker, all, vip, &source());
    let nonce = [&source()[..], &[14, 1, 9, 9, 9, 9, 9, 9]].concat();
    let nowhere = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let everybody = advertisement(vip, "ff02::1".parse().expect("a group"), OVERRIDE);
    let mut padded = asked(mac, &ask(asker, all, vip, &[]));
    padded.extend([0x5a; 30]);
    let mut labelled = ask(asker, all, vip, &source()).class(0xe0);
    labelled.label = 0x1_2345;
    let tags: Tags<'_> = &[(0x88a8, 0xe064), (0x8100, 6)];
    let (lost, lost_mac) = (group(lost_vip(true)).0, group(lost_vip(true)).1);
    vec![
        row("a solicitation", asked(mac, &usual))
            .rfc("RFC 4861 7.2.4")
            .answers(AnswerSolicitation, reply(&[])),
        row(
            "to our MAC address",
            asked(OWN, &ask(asker, vip, vip, &source())),
        )
        .rfc("RFC 4861 7.3.3")
        .answers(AnswerSolicitation, reply(&[])),
        row(
            "without options: the answer is longer",
            asked(mac, &ask(asker, all, vip, &[])),
        )
        .rfc("RFC 4861 4.4")
        .answers(AnswerSolicitation, reply(&[])),
        row(
            "with more options: it is shorter",
            asked(mac, &ask(asker, all, vip, &nonce)),
        )
        .rfc("RFC 4861 4.4")
        .answers(AnswerSolicitation, reply(&[])),
        row("padded", padded).answers(AnswerSolicitation, reply(&[])),
        row("class and label aren't the asker's", asked(mac, &labelled))
            .answers(AnswerSolicitation, reply(&[])),
        row("with tags", framed(mac, CLIENT_MAC, tags, &usual.ip()))
            .answers(AnswerSolicitation, reply(tags)),
        row(
            "somebody wants the address",
            asked(mac, &ask(nowhere, all, vip, &[])),
        )
        .rfc("RFC 4862 5.4.3, RFC 4861 7.2.4")
        .answers(
            AnswerSolicitation,
            framed(ALL_NODES, OWN, &[], &everybody.ip()),
        ),
        row(
            "after the lease",
            asked(lost_mac, &ask(asker, lost, lost_vip(true), &source())),
        )
        .drops(DropNotHeld),
    ]
}

fn left_to_the_kernel() -> Vec<Row> {
    use Verdict::{PassGroup, PassNeighbour, PassOtherHost};
    let (asker, vip) = (client(true, 0).ip(), vip(true, 0).ip());
    let (all, mac) = group(vip);
    let asked = |packet: &Packet| framed(mac, CLIENT_MAC, &[], &packet.ip());
    let own: IpAddr = "2001:db8:1::1:20".parse().expect("an address");
    let (own_group, own_mac) = group(own);
    let nowhere = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let usual = ask(asker, all, vip, &source());
    let mut coded = ask(asker, all, vip, &source());
    coded.transport = crate::packet::Transport::Icmp {
        kind: SOLICIT,
        code: 1,
        word: 0,
    };
    let to_all = |kind| {
        let to = "ff02::1".parse().expect("a group");
        framed(
            ALL_NODES,
            CLIENT_MAC,
            &[],
            &Packet::icmp(asker, to, kind, 0, 0).ttl(255).ip(),
        )
    };
    vec![
        row(
            "for the node's own address",
            framed(
                own_mac,
                CLIENT_MAC,
                &[],
                &ask(asker, own_group, own, &source()).ip(),
            ),
        )
        .rfc("RFC 4861 7.2.3")
        .passes(PassNeighbour),
        row(
            "to another target's group",
            asked(&ask(asker, own_group, vip, &source())),
        )
        .passes(PassNeighbour),
        row(
            "from nowhere to the VIP alone",
            framed(OWN, CLIENT_MAC, &[], &ask(nowhere, vip, vip, &[]).ip()),
        )
        .rfc("RFC 4861 7.1.1")
        .passes(PassNeighbour),
        row("a router's advertisement", to_all(134)).passes(PassGroup),
        row("a neighbour's advertisement", to_all(136)).passes(PassGroup),
        row("with a code", asked(&coded)).passes(PassGroup),
        row(
            "behind an extension header",
            asked(&usual.clone().extended(0, &[0, 1, 4, 0, 0, 0, 0])),
        )
        .passes(PassGroup),
        row(
            "to another host",
            framed([2, 0, 0, 0, 9, 9], CLIENT_MAC, &[], &usual.ip()),
        )
        .passes(PassOtherHost),
    ]
}

#[test]
fn neighbour_solicitations() {
    check(&rows());
}
