//! Tunnels: the packet as the client sent it, one hop on, behind outer headers.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_common::verdict::Verdict;

use crate::{
    modes::{GUE, VERSIONS, backend, client, outer_source, server, vip},
    packet::{Packet, Tags, Transport, arriving, framed},
    rig::{Rig, XDP_TX},
    row::{Row, check, row},
    site::{self, OWN, TCP, UDP, mac_of},
};

/// A service's port, whether the outer header is IPv6, whether it is GUE, the tags of
/// the way.
type Mode = (u16, bool, bool, Tags<'static>);

const MODES: [Mode; 6] = [
    (60, false, false, &[]),
    (61, true, false, &[]),
    (62, false, true, &[]),
    (63, true, true, &[]),
    (64, false, false, &[(0x8100, 5)]),
    (65, true, true, &[(0x88a8, 100), (0x8100, 6)]),
];

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What a flow chooses in the outer header: source address and port, flow label.
pub fn choice(ip: &[u8]) -> (SocketAddr, u32) {
    let (address, label, at) = if ip[0] >> 4 == 4 {
        let octets: [u8; 4] = ip[12..16].try_into().expect("four");
        (IpAddr::from(octets), 0, 20)
    } else {
        let octets: [u8; 16] = ip[8..24].try_into().expect("sixteen");
        let label = u32::from_be_bytes(ip[..4].try_into().expect("four")) & 0xf_ffff;
        (IpAddr::from(octets), label, 40)
    };
    let port = u16::from_be_bytes([ip[at], ip[at + 1]]);
    (SocketAddr::from((address, port)), label)
}

/// The packet as `number` gets it: its headers as the flow chose them in `got`, if that
/// is a choice which it has.
pub fn encapsulated(mode: Mode, number: u16, packet: &Packet, inner: &[u8], got: &[u8]) -> Vec<u8> {
    let (_, six, is_gue, tags) = mode;
    let (from, label) = choice(&got[14 + tags.len() * 4..]);
    let (base, varying) = outer_source(six);
    let chosen = bits(from.ip()) & bits(varying) | bits(base);
    let from_ip = if six {
        IpAddr::from(Ipv6Addr::from_bits(chosen))
    } else {
        IpAddr::from(Ipv4Addr::from_bits(chosen as u32))
    };
    let to = server(six, number, GUE);
    let mut outer = if is_gue {
        let port = from.port() | 0xc000;
        Packet::udp((from_ip, port).into(), to, inner).unchecked()
    } else {
        let protocol = if packet.source.is_ipv4() { 4 } else { 41 };
        Packet::other(from_ip, to.ip(), protocol).payload(inner)
    };
    (outer.id, outer.class, outer.label) = (0, packet.class, label);
    framed(mac_of(number), OWN, tags, &outer.ip())
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for six in VERSIONS {
        for mode in MODES {
            rows.extend(through(six, mode));
        }
    }
    rows
}

fn through(six: bool, mode: Mode) -> Vec<Row> {
    use Verdict::{DropTtl, ForwardAdopted, ForwardKnown, ForwardNew, ForwardUntracked};
    let port = mode.0;
    let tcp = |from: u16, flags: &str| Packet::tcp(client(six, from), vip(six, port), flags);
    let udp = |from, payload: &[u8]| Packet::udp(client(six, from), vip(six, port), payload);
    let longest = 1_500
        - if mode.1 { 40 } else { 20 }
        - if mode.2 { 8 } else { 0 }
        - if six { 40 } else { 20 }
        - 20;
    let odd = if six {
        tcp(7, "S").extended(60, &[0, 1, 4, 0, 0, 0, 0])
    } else {
        tcp(7, "S").options(&[7, 3, 4, 0])
    };
    let mut rows: Vec<Row> = [
        (
            "a SYN",
            "RFC 2003 3.1, RFC 2473 3.1",
            ForwardNew,
            TCP,
            tcp(1, "S"),
        ),
        ("its ACK", "", ForwardKnown, TCP, tcp(1, "A")),
        (
            "the longest segment",
            "",
            ForwardAdopted,
            TCP,
            tcp(2, "A").payload(&vec![7; longest]),
        ),
        (
            "a FIN of an unknown flow",
            "",
            ForwardUntracked,
            TCP,
            tcp(3, "F"),
        ),
        ("a datagram", "RFC 6935 5", ForwardNew, UDP, udp(1, b"odd")),
        (
            "a datagram without a checksum",
            "",
            ForwardNew,
            UDP,
            udp(2, b"x").unchecked(),
        ),
        (
            "DSCP and ECN: EF, CE",
            "RFC 2983 3, RFC 6040 4.1",
            ForwardNew,
            TCP,
            tcp(4, "S").class(0xbb),
        ),
        (
            "ECT(0)",
            "RFC 6040 4.1",
            ForwardNew,
            TCP,
            tcp(5, "S").class(2),
        ),
        (
            "a TTL of 2",
            "RFC 2003 3.1, RFC 2473 3.1",
            ForwardNew,
            TCP,
            tcp(6, "S").ttl(2),
        ),
        ("a TTL of 255", "", ForwardNew, TCP, tcp(8, "S").ttl(255)),
        ("options or extensions stay", "", ForwardNew, TCP, odd),
    ]
    .into_iter()
    .map(|(name, rfc, verdict, protocol, packet)| {
        let number = backend(six, port, protocol);
        let inner = packet.clone().hop();
        row(format!("{name}, by {port}"), packet)
            .rfc(rfc)
            .forwards(verdict, XDP_TX, number, Vec::new())
            .like(move |got| encapsulated(mode, number, &inner, &inner.ip(), got))
    })
    .collect();
    for ttl in [0, 1] {
        let dying = row("no hop left", tcp(9, "S").ttl(ttl));
        rows.push(dying.rfc("RFC 2003 3.1, RFC 2473 3.1").drops(DropTtl));
    }
    // Neither a part of the packet nor of its outer length.
    let (packet, number) = (udp(10, b"x"), backend(six, port, UDP));
    let padding = [0x5a; 18];
    let frame = [&arriving(&packet.ip())[..], &padding].concat();
    let inner = packet.hop();
    rows.push(
        row("padding stays behind", frame)
            .rfc("RFC 894")
            .forwards(ForwardNew, XDP_TX, number, Vec::new())
            .like(move |got| {
                let mut out = encapsulated(mode, number, &inner, &inner.ip(), got);
                out.extend(padding);
                out
            }),
    );
    rows
}

#[test]
fn behind_outer_headers() {
    check(&rows());
}

/// The outer headers of what goes to a tunnel.
fn chosen(rig: &mut Rig, mode: Mode, packet: &[u8]) -> (SocketAddr, u32) {
    let sent = rig.send(&arriving(packet));
    assert_eq!(sent.action, XDP_TX, "{sent:?}");
    let (mut from, label) = choice(&sent.bytes[14 + mode.3.len() * 4..]);
    if !mode.2 {
        from.set_port(0);
    }
    (from, label)
}

/// Receivers spread flows over their queues by the outer headers (RFC 6438 section 3,
/// RFC 6936): one flow never varies, many do, whatever part of them a receiver looks at.
#[test]
fn a_flow_keeps_its_outer_headers_and_flows_differ() {
    let mut rig = site::rig();
    for six in VERSIONS {
        for mode in MODES {
            let mut all = BTreeSet::new();
            for from in 1..=64 {
                let (from, to) = (client(six, from), vip(six, mode.0));
                let tcp = |flags| Packet::tcp(from, to, flags);
                let first = chosen(&mut rig, mode, &tcp("S").ip());
                for packet in [
                    tcp("A"),
                    tcp("PA").payload(b"x"),
                    tcp("A").class(2),
                    tcp("FA"),
                ] {
                    assert_eq!(chosen(&mut rig, mode, &packet.ip()), first);
                }
                for part in tcp("A")
                    .payload(&[1; 64])
                    .id(from.port().into())
                    .fragments(32)
                {
                    assert_eq!(chosen(&mut rig, mode, &part), first);
                }
                all.insert(first);
            }
            let addresses: BTreeSet<_> = all.iter().map(|one| one.0.ip()).collect();
            let ports: BTreeSet<_> = all.iter().map(|one| one.0.port()).collect();
            let labels: BTreeSet<_> = all.iter().map(|one| one.1).collect();
            assert!(addresses.len() > 48, "{mode:?}: {addresses:?}");
            assert!(!mode.2 || ports.len() > 48, "{mode:?}: {ports:?}");
            assert!(!mode.1 || labels.len() > 48, "{mode:?}: {labels:?}");
        }
    }
}

/// What the fixtures' port of GUE is for.
#[test]
fn the_oracle_reads_what_it_writes() {
    let packet = Packet::udp(client(false, 50_000), vip(false, GUE), b"x");
    assert!(matches!(packet.transport, Transport::Udp { checked: true }));
    assert_eq!(choice(&packet.ip()), (client(false, 50_000), 0));
}
