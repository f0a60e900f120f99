//! An ordinary host with Flowgate loaded still is one: what isn't ours goes to its kernel
//! as it came.

use std::net::SocketAddr;

use etherparse::{ArpOperation, EtherType};
use lb_common::{abi::Mac, verdict::Verdict};

use crate::{
    frame::{arp, arp_request, ethernet},
    modes::{VERSIONS, backend, client, server, stranger, unrouted},
    packet::{Packet, Tags, framed, tagged},
    row::{Row, check, row},
    site::{BROADCAST, CLIENT, CLIENT_MAC, OWN, TCP, mac_of},
};

/// The node's own address.
fn node(six: bool, port: u16) -> SocketAddr {
    let text = if six { "2001:db8:1::2" } else { "203.0.113.2" };
    (text.parse::<std::net::IpAddr>().expect("an address"), port).into()
}

/// A group's address and MAC address.
fn group(text: &str) -> (SocketAddr, Mac) {
    let address: std::net::IpAddr = text.parse().expect("an address");
    let mac = match address {
        std::net::IpAddr::V4(address) => {
            let [_, a, b, c] = address.octets();
            [1, 0, 0x5e, a & 0x7f, b, c]
        }
        std::net::IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [0x33, 0x33, a, b, c, d]
        }
    };
    ((address, 0).into(), mac)
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for six in VERSIONS {
        rows.extend(to_the_node(six));
        rows.extend(to_groups(six));
    }
    rows.extend(arp_of_the_node());
    rows.extend(ether_types());
    rows
}

fn to_the_node(six: bool) -> Vec<Row> {
    let admin = client(six, 50_000);
    let number = backend(six, 90, TCP);
    // A server of `nat`, by the very address and port that it serves from.
    let at = server(six, number, 8_080);
    let node = |port| node(six, port);
    let unreachable = if six { (1, 4) } else { (3, 3) };
    let probe = Packet::tcp(node(40_000), at, "S").ip();
    let packets = [
        ("ssh", Packet::tcp(admin, node(22), "S")),
        (
            "ssh, data",
            Packet::tcp(admin, node(22), "PA").payload(b"SSH-2.0-x"),
        ),
        (
            "an answer to the node",
            Packet::tcp(stranger(six, 443), node(40_000), "SA"),
        ),
        (
            "a health check's answer",
            Packet::tcp(at, node(40_000), "SA"),
        ),
        (
            "a health check's answer, refused",
            Packet::tcp(at, node(40_000), "RA"),
        ),
        ("a health check's error", {
            let error = Packet::icmp(at.ip(), node(0).ip(), unreachable.0, unreachable.1, 0);
            error.payload(&probe)
        }),
        (
            "a resolver's answer",
            Packet::udp(stranger(six, 53), node(40_001), b"203.0.113.10"),
        ),
        (
            "a web server's on the node",
            Packet::tcp(admin, node(80), "S"),
        ),
        ("an echo", Packet::echo(admin.ip(), node(0).ip())),
        (
            "VRRP by unicast",
            Packet::other(stranger(six, 0).ip(), node(0).ip(), 112).ttl(255),
        ),
        (
            "ESP",
            Packet::other(stranger(six, 0).ip(), node(0).ip(), 50),
        ),
        (
            "a tunnel that ends here",
            Packet::other(stranger(six, 0).ip(), node(0).ip(), 4),
        ),
        (
            "through the node",
            Packet::tcp(admin, unrouted(six, 80), "S"),
        ),
    ];
    let tags: Tags<'_> = &[(0x8100, 0x602a)];
    let mut rows = Vec::new();
    for (name, packet) in packets {
        let frame = framed(OWN, CLIENT_MAC, &[], &packet.ip());
        rows.push(row(name, frame.clone()).passes(Verdict::PassNotVip));
        let name = format!("{name}, in a VLAN");
        rows.push(row(name, tagged(frame, tags)).passes(Verdict::PassNotVip));
    }
    let long = Packet::udp(stranger(six, 53), node(40_001), &[9; 90]);
    for part in long.fragments(40) {
        rows.push(
            row("a fragment", framed(OWN, CLIENT_MAC, &[], &part)).passes(Verdict::PassNotVip),
        );
    }
    if six {
        let solicited = Packet::icmp(stranger(true, 0).ip(), node(0).ip(), 136, 0, 0x6000_0000);
        rows.push(
            row("a neighbour's advertisement", solicited.ttl(255)).passes(Verdict::PassNotVip),
        );
    }
    rows
}

fn to_groups(six: bool) -> Vec<Row> {
    let from = stranger(six, 5_353);
    let groups: &[(&str, &str, u8)] = if six {
        &[
            ("VRRP", "ff02::12", 112),
            ("OSPF", "ff02::5", 89),
            ("MLD", "ff02::16", 58),
            ("a router's advertisement", "ff02::1", 58),
            ("mDNS", "ff02::fb", 17),
        ]
    } else {
        &[
            ("VRRP", "224.0.0.18", 112),
            ("OSPF", "224.0.0.5", 89),
            ("IGMP", "224.0.0.22", 2),
            ("mDNS", "224.0.0.251", 17),
        ]
    };
    let mut rows: Vec<Row> = groups
        .iter()
        .map(|&(name, address, protocol)| {
            let (to, mac) = group(address);
            let packet = match protocol {
                17 => Packet::udp(from, (to.ip(), 5_353).into(), b"_http._tcp.local"),
                58 if address == "ff02::1" => Packet::icmp(from.ip(), to.ip(), 134, 0, 0),
                58 => Packet::icmp(from.ip(), to.ip(), 143, 0, 0),
                _ => Packet::other(from.ip(), to.ip(), protocol),
            };
            row(name, framed(mac, CLIENT_MAC, &[], &packet.ttl(255).ip()))
                .rfc("RFC 1112 6.4, RFC 2464 7, RFC 5798 5")
                .passes(Verdict::PassGroup)
        })
        .collect();
    if !six {
        let to = "255.255.255.255:67".parse().expect("an address");
        let asked = Packet::udp("0.0.0.0:68".parse().expect("an address"), to, &[1; 240]);
        rows.push(
            row("DHCP", framed(BROADCAST, CLIENT_MAC, &[], &asked.ip()))
                .rfc("RFC 2131 4.1")
                .passes(Verdict::PassGroup),
        );
    }
    rows
}

fn arp_of_the_node() -> Vec<Row> {
    let own = [203, 0, 113, 2];
    let request = arp_request((CLIENT_MAC, CLIENT), own);
    let mut reply = arp_request((mac_of(104), [10, 1, 0, 104]), own);
    reply.operation = ArpOperation::REPLY;
    reply.target_mac = OWN;
    let probe = arp_request((CLIENT_MAC, [0; 4]), own);
    vec![
        row(
            "ARP for the node's address",
            arp(BROADCAST, CLIENT_MAC, &request),
        )
        .rfc("RFC 826")
        .passes(Verdict::PassArp),
        row("a probe for it", arp(BROADCAST, CLIENT_MAC, &probe))
            .rfc("RFC 5227 2.1.1")
            .passes(Verdict::PassArp),
        row(
            "a server's reply to the node",
            arp(OWN, mac_of(104), &reply),
        )
        .rfc("RFC 826")
        .passes(Verdict::PassArp),
        row(
            "ARP for it in a VLAN",
            tagged(arp(BROADCAST, CLIENT_MAC, &request), &[(0x8100, 7)]),
        )
        .passes(Verdict::PassArp),
    ]
}

/// LACP, LLDP, MPLS, PPPoE, EAPOL, PTP, a length (of a spanning tree's frame), MACsec, one
/// that nobody has.
fn ether_types() -> Vec<Row> {
    let slow = [1, 0x80, 0xc2, 0, 0, 2];
    [
        0x8809, 0x88cc, 0x8847, 0x8864, 0x888e, 0x88f7, 0x0026, 0x88e5, 0xffff,
    ]
    .into_iter()
    .flat_map(|ether_type| {
        [OWN, BROADCAST, slow].map(|mac| {
            let mut frame = ethernet(mac, CLIENT_MAC, EtherType(ether_type));
            frame.extend([0x42; 46]);
            row(format!("EtherType {ether_type:#06x}"), frame).passes(Verdict::PassProtocol)
        })
    })
    .collect()
}

#[test]
fn what_is_not_ours_passes() {
    check(&rows());
}
