//! Routers in tunnels that find a packet too long: outer header IPv4 or IPv6, GUE or not.

use std::collections::BTreeSet;

use lb_common::verdict::Verdict::{self, PassNotVip, PassOtherHost, RelayTooBig};

use super::PROTOCOLS;
use crate::{
    modes::{VERSIONS, client, stranger, vip},
    packet::{Packet, arriving, framed, too_big},
    rig::{Rig, XDP_TX},
    row::{Row, check_on, row},
    site::{self, CLIENT_MAC, OWN, ROUTER_MAC, TCP},
    tunnel::choice,
};

const RFC: &str = "RFC 2003 5, RFC 2473 8";

#[test]
fn too_big_in_a_tunnel() {
    relayed();
}

/// Runs the rows of tunnels; the verdicts that were seen.
pub fn relayed() -> BTreeSet<Verdict> {
    let mut rig = site::rig();
    let mut seen = BTreeSet::new();
    for six in VERSIONS {
        for (port, outer6, overhead) in [
            (60, false, 20),
            (61, true, 40),
            (62, false, 28),
            (63, true, 48),
        ] {
            for protocol in PROTOCOLS {
                let rows = in_tunnel(&mut rig, six, (port, outer6, overhead), protocol);
                seen.extend(check_on(&mut rig, &rows));
            }
        }
    }
    seen
}

fn in_tunnel(
    rig: &mut Rig,
    six: bool,
    (port, outer6, overhead): (u16, bool, u32),
    protocol: u8,
) -> Vec<Row> {
    let (from, to) = (client(six, 60), vip(six, port));
    let packet = match protocol {
        TCP => Packet::tcp(from, to, "S").payload(&[7; 1_300]),
        _ => Packet::udp(from, to, &[7; 1_300]),
    };
    let (_, out) = rig.run(&arriving(&packet.ip()));
    let outer = &out[14..];
    let ours = choice(outer).0.ip();
    let inner = packet.hop().ip();
    let start = outer.len() - inner.len();
    assert_eq!(start as u32, overhead);
    let (kind, code) = if outer6 { (2, 0) } else { (3, 4) };
    let router = stranger(outer6, 0).ip();
    let about = |mtu: u32, quote: &[u8]| Packet::icmp(router, ours, kind, code, mtu).payload(quote);
    let mut rows = Vec::new();
    let least = if six { 48 } else { 28 };
    for (name, quoted) in [
        ("all that IPv6 quotes", 1_232.min(outer.len())),
        ("548 bytes", 548),
        ("the least that can be told of", start + least),
    ] {
        let told = too_big(&inner[..quoted - start], 1_400 - overhead).ip();
        rows.push(
            row(
                format!("{name}, from {port}"),
                about(1_400, &outer[..quoted]),
            )
            .rfc(RFC)
            .forwards(RelayTooBig, XDP_TX, 0, framed(ROUTER_MAC, OWN, &[], &told))
            .counts_nothing(),
        );
    }
    let short = &outer[..start + least - 1];
    let (mut elsewhere, mut stray) = (outer.to_vec(), outer.to_vec());
    // The last byte of the outer destination; the last of the client's port.
    elsewhere[if outer6 { 39 } else { 19 }] ^= 0xff;
    stray[start + if six { 41 } else { 21 }] ^= 0x55;
    rows.push(row("too short a quote", about(1_400, short)).passes(PassNotVip));
    rows.push(row("to another end", about(1_400, &elsewhere)).passes(PassNotVip));
    rows.push(row("about an unknown flow", about(1_400, &stray)).passes(PassNotVip));
    let other = Packet::icmp(router, ours, if outer6 { 1 } else { 3 }, 0, 0).payload(outer);
    rows.push(row("another error", other).passes(PassNotVip));
    if !outer6 {
        rows.push(
            row("from before RFC 1191", about(0, outer))
                .rfc("RFC 1191 5")
                .passes(PassNotVip),
        );
    }
    let nobody = framed(CLIENT_MAC, CLIENT_MAC, &[], &about(1_400, outer).ip());
    rows.push(row("to another host's MAC", nobody).passes(PassOtherHost));
    rows
}
