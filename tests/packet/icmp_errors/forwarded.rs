//! Errors that reach whom they are for.

use lb_common::verdict::Verdict::{DropVipProtocol, ForwardError, ReturnError, ReturnKernel};

use super::{RFC, cut, cuts, error, requoted, segment};
use crate::{
    modes::{backend, client, server, stranger, unrouted, vip},
    packet::{Packet, arriving, framed},
    rig::{XDP_PASS, XDP_TX},
    row::{Row, row},
    site::{OWN, ROUTER_MAC, TCP, mac_of},
    tunnel::encapsulated,
};

/// Types and codes of errors, of IPv4 and of IPv6.
const ERRORS: [&[(u8, u8)]; 2] = [
    &[(3, 0), (3, 3), (3, 4), (11, 0), (12, 0)],
    &[(1, 0), (1, 4), (2, 0), (3, 0), (4, 1)],
];
/// Types of what else ICMP says, likewise.
const OTHERS: [&[u8]; 2] = [
    &[0, 4, 5, 9, 13, 17],
    &[0, 5, 100, 127, 130, 133, 134, 136, 137],
];

/// From behind clients, about what servers have sent to them.
pub fn to_backends(six: bool, protocol: u8) -> Vec<Row> {
    let mut rows = Vec::new();
    for (from, port) in [(1, 80), (2, 81), (3, 90), (4, 91), (5, 61), (6, 62)] {
        let number = backend(six, port, protocol);
        let (client, vip) = (client(six, from), vip(six, port));
        let opened = arriving(&segment(protocol, client, vip, "S").ip());
        let sent = segment(protocol, vip, client, "A");
        let at = server(six, number, if port == 91 { 91 } else { 8_080 });
        for size in cuts(six) {
            let error = error(six, vip.ip(), &cut(&sent, size));
            let goes = match port {
                80 | 81 | 61 | 62 => error.clone(),
                _ => {
                    let quote = requoted(&sent, &sent.clone().from(at), size);
                    error.clone().to((at.ip(), 0).into()).payload(&quote).hop()
                }
            };
            let row = row(format!("to {port}, {size} quoted"), error.clone())
                .rfc(RFC)
                .after([&opened]);
            let tags: &[(u16, u16)] = if port == 81 { &[(0x8100, 5)] } else { &[] };
            let out = framed(mac_of(number), OWN, tags, &goes.ip());
            let row = row.forwards(ForwardError, XDP_TX, number, out);
            let inner = error.hop();
            rows.push(match port {
                61 => row.like(move |got| {
                    encapsulated((61, true, false, &[]), number, &inner, &inner.ip(), got)
                }),
                62 => row.like(move |got| {
                    encapsulated((62, false, true, &[]), number, &inner, &inner.ip(), got)
                }),
                _ => row,
            });
        }
    }
    rows
}

/// From behind us, about what clients have sent to servers of `nat`.
pub fn to_clients(six: bool, protocol: u8) -> Vec<Row> {
    let mut rows = Vec::new();
    for (port, own) in [(90, 8_080), (91, 91)] {
        let number = backend(six, port, protocol);
        let (at, vip) = (server(six, number, own), vip(six, port));
        for (client, is_routed) in [(client(six, 10), true), (unrouted(six, 10), false)] {
            let opened = arriving(&segment(protocol, client, vip, "S").ip());
            let sent = segment(protocol, client, at, "A").ttl(63);
            for size in cuts(six) {
                let error = error(six, client.ip(), &cut(&sent, size));
                let goes = error.clone().from((vip.ip(), 0).into()).payload(&requoted(
                    &sent,
                    &sent.clone().to(vip),
                    size,
                ));
                let row = row(format!("from {port}'s server, {size} quoted"), error)
                    .rfc("RFC 3022 4.3, RFC 5508 4.2")
                    .after([&opened]);
                rows.push(if is_routed {
                    let out = framed(ROUTER_MAC, OWN, &[], &goes.hop().ip());
                    row.returns(ReturnError, XDP_TX, number, out)
                } else {
                    row.returns(ReturnKernel, XDP_PASS, number, arriving(&goes.ip()))
                });
            }
        }
    }
    rows
}

/// Every kind of error, and none but errors.
pub fn kinds(six: bool) -> Vec<Row> {
    let (client, vip) = (client(six, 20), vip(six, 80));
    let number = backend(six, 80, TCP);
    let quote = Packet::tcp(vip, client, "A").ip();
    let opened = Packet::tcp(client, vip, "S");
    let router = stranger(six, 0).ip();
    let (errors, others) = (ERRORS[usize::from(six)], OTHERS[usize::from(six)]);
    let mut rows: Vec<Row> = errors
        .iter()
        .map(|&(kind, code)| {
            let error = Packet::icmp(router, vip.ip(), kind, code, 7).payload(&quote);
            let out = framed(mac_of(number), OWN, &[], &error.ip());
            row(format!("type {kind}, code {code}"), error)
                .rfc(RFC)
                .after([&opened])
                .forwards(ForwardError, XDP_TX, number, out)
        })
        .collect();
    for &kind in others {
        let other = Packet::icmp(router, vip.ip(), kind, 0, 7).payload(&quote);
        rows.push(row(format!("type {kind} is no error"), other).drops(DropVipProtocol));
    }
    let odd = with_options(
        six,
        Packet::icmp(router, vip.ip(), errors[0].0, 0, 7).payload(&quote),
    );
    let out = framed(mac_of(number), OWN, &[], &odd.ip());
    rows.push(row("behind options", odd).forwards(ForwardError, XDP_TX, number, out));
    let sent = with_options(six, Packet::tcp(vip, client, "A"));
    let about = error(six, vip.ip(), &sent.ip());
    let out = framed(mac_of(number), OWN, &[], &about.ip());
    rows.push(row("that quotes options", about).forwards(ForwardError, XDP_TX, number, out));
    rows
}

fn with_options(six: bool, packet: Packet) -> Packet {
    if six {
        packet.extended(60, &[0, 1, 4, 0, 0, 0, 0])
    } else {
        packet.options(&[7, 3, 4, 0])
    }
}
