//! ICMP errors about flows: to backends, to clients, and out of tunnels.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    abi::BackendState,
    verdict::Verdict::{
        self, DropError, DropTooBig, DropTtl, DropVipProtocol, ForwardError, PassNotVip,
        RelayTooBig, ReturnError, ReturnKernel,
    },
};

use crate::{
    modes::{VERSIONS, backend, client, pool, server, stranger, unrouted, vip},
    packet::{Packet, Transport, arriving, ends, framed, too_big},
    rig::{Rig, XDP_PASS, XDP_TX},
    row::{Row, check, check_on, row},
    site::{self, CLIENT_MAC, OWN, ROUTER_MAC, TCP, UDP, mac_of},
    tunnel::{choice, encapsulated},
};

const RFC: &str = "RFC 792, RFC 1122 3.2.2, RFC 4443 2.4";
const PROTOCOLS: [u8; 2] = [TCP, UDP];

/// An error of somebody on the way: "too big".
fn error(six: bool, to: IpAddr, quote: &[u8]) -> Packet {
    let from = stranger(six, 0).ip();
    let kind = if six { (2, 0) } else { (3, 4) };
    Packet::icmp(from, to, kind.0, kind.1, 1_280).payload(quote)
}

/// How much of a packet errors quote: what IPv4 must, a TCP header without its checksum,
/// with it, all of it.
fn cuts(six: bool) -> [usize; 4] {
    let head = if six { 40 } else { 20 };
    [head + 8, head + 17, head + 18, usize::MAX]
}

fn cut(packet: &Packet, at: usize) -> Vec<u8> {
    let mut bytes = packet.ip();
    bytes.truncate(at);
    bytes
}

/// What an error quotes of `sent` once it is translated. Half a TCP checksum isn't.
fn requoted(sent: &Packet, translated: &Packet, at: usize) -> Vec<u8> {
    let mut bytes = cut(translated, at);
    let head = if sent.source.is_ipv4() { 20 } else { 40 };
    if at == head + 17 && matches!(sent.transport, Transport::Tcp(_)) {
        bytes[at - 1] = sent.ip()[at - 1];
    }
    bytes
}

fn segment(protocol: u8, from: SocketAddr, to: SocketAddr, flags: &str) -> Packet {
    match protocol {
        TCP => Packet::tcp(from, to, flags).payload(b"some data"),
        _ => Packet::udp(from, to, b"a datagram's"),
    }
}

/// What needs no port or outer header to be known beforehand.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for six in VERSIONS {
        for protocol in PROTOCOLS {
            rows.extend(to_backends(six, protocol));
            rows.extend(to_clients(six, protocol));
        }
        rows.extend(kinds(six));
        rows.extend(about_nothing(six));
        rows.extend(refused(six));
    }
    rows
}

fn to_backends(six: bool, protocol: u8) -> Vec<Row> {
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
fn to_clients(six: bool, protocol: u8) -> Vec<Row> {
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
fn kinds(six: bool) -> Vec<Row> {
    let (client, vip) = (client(six, 20), vip(six, 80));
    let number = backend(six, 80, TCP);
    let quote = Packet::tcp(vip, client, "A").ip();
    let opened = Packet::tcp(client, vip, "S");
    let router = stranger(six, 0).ip();
    let (errors, others): (&[(u8, u8)], &[u8]) = if six {
        (
            &[(1, 0), (1, 4), (2, 0), (3, 0), (4, 1)],
            &[0, 5, 100, 127, 130, 133, 134, 136, 137],
        )
    } else {
        (
            &[(3, 0), (3, 3), (3, 4), (11, 0), (12, 0)],
            &[0, 4, 5, 9, 13, 17],
        )
    };
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
    let mut odd = Packet::icmp(router, vip.ip(), errors[0].0, 0, 7).payload(&quote);
    if six {
        odd = odd.extended(60, &[0, 1, 4, 0, 0, 0, 0]);
    } else {
        odd = odd.options(&[7, 3, 4, 0]);
    }
    let out = framed(mac_of(number), OWN, &[], &odd.ip());
    rows.push(row("behind options", odd).forwards(ForwardError, XDP_TX, number, out));
    let mut sent = Packet::tcp(vip, client, "A");
    if six {
        sent = sent.extended(60, &[0, 1, 4, 0, 0, 0, 0]);
    } else {
        sent = sent.options(&[7, 3, 4, 0]);
    }
    let about = error(six, vip.ip(), &sent.ip());
    let out = framed(mac_of(number), OWN, &[], &about.ip());
    rows.push(row("that quotes options", about).forwards(ForwardError, XDP_TX, number, out));
    rows
}

fn about_nothing(six: bool) -> Vec<Row> {
    let (from, to) = (client(six, 30), vip(six, 80));
    let sent = Packet::tcp(to, from, "A");
    let about = |quote: &[u8]| error(six, to.ip(), quote);
    let head = if six { 40 } else { 20 };
    let echo = Packet::echo(to.ip(), from.ip());
    let other = stranger(six, 30);
    let later = Packet::udp(to, from, &[1; 90]).fragments(40)[1].clone();
    let mut version = sent.ip();
    version[0] ^= 0x10;
    let mut rows = vec![
        row("about an unknown flow", about(&sent.ip())),
        row(
            "about a closed port",
            about(&Packet::tcp(vip(six, 22), from, "A").ip()),
        ),
        row("without a quote", about(&[])),
        row(
            "that quotes half an IP header",
            about(&sent.ip()[..head - 1]),
        ),
        row("that quotes no ports", about(&sent.ip()[..head + 7]))
            .after([&Packet::tcp(from, to, "S")]),
        row("that quotes an echo", about(&echo.ip())),
        row(
            "that quotes SCTP",
            about(&Packet::other(to.ip(), from.ip(), 132).ip()),
        ),
        row("that quotes a later fragment", about(&later)),
        row("that quotes another version", about(&version)),
        row(
            "about what somebody else has sent",
            about(&Packet::tcp(other, from, "A").ip()),
        ),
    ];
    rows = rows
        .into_iter()
        .map(|row| row.rfc(RFC).drops(DropError))
        .collect();
    let elsewhere = error(six, other.ip(), &Packet::tcp(other, from, "A").ip());
    let unknown = error(
        six,
        from.ip(),
        &Packet::tcp(from, server(six, backend(six, 90, TCP), 8_080), "A").ip(),
    );
    rows.push(row("about what the node has sent", elsewhere).passes(PassNotVip));
    rows.push(row("about a server's flow that we don't know", unknown).passes(PassNotVip));
    rows.push(
        row(
            "to the pool, about nothing",
            error(six, pool(six), &sent.ip()),
        )
        .drops(DropError),
    );
    rows
}

fn refused(six: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (from, port) in [(40, 90), (41, 60)] {
        let (from, to) = (client(six, from), vip(six, port));
        let dying = error(six, to.ip(), &Packet::tcp(to, from, "A").ip()).ttl(1);
        rows.push(
            row(format!("no hop left, to {port}"), dying)
                .rfc("RFC 1812 5.3.1, RFC 8200 3")
                .after([&Packet::tcp(from, to, "S")])
                .drops(DropTtl),
        );
    }
    let (from, to) = (client(six, 42), vip(six, 93));
    let long = Packet::tcp(to, from, "A").payload(&[6; 1_400]);
    rows.push(
        row("too long itself", error(six, to.ip(), &long.ip()))
            .rfc("RFC 1122 3.2.2, RFC 4443 2.4 (e)")
            .after([&Packet::tcp(from, to, "S")])
            .drops(DropTooBig),
    );
    // Last: the backend has failed then.
    let (from, to) = (client(six, 43), vip(six, 80));
    let down: fn(&mut Rig) = if six {
        |rig| rig.state(backend(true, 80, TCP), BackendState::Down)
    } else {
        |rig| rig.state(backend(false, 80, TCP), BackendState::Down)
    };
    rows.push(
        row(
            "whose backend has failed",
            error(six, to.ip(), &Packet::tcp(to, from, "A").ip()),
        )
        .after([&Packet::tcp(from, to, "S")])
        .when(down)
        .drops(DropError),
    );
    rows
}

#[test]
fn errors_about_flows() {
    check(&rows());
}

/// `full-nat`, both ways: the port of the pool has to be seen first.
#[test]
fn errors_about_full_nat() {
    let mut rig = site::rig();
    for six in VERSIONS {
        for protocol in PROTOCOLS {
            for (port, own) in [(70, 8_080), (71, 71)] {
                let number = backend(six, port, protocol);
                let (at, to) = (server(six, number, own), vip(six, port));
                let mut rows = Vec::new();
                for (from, is_routed) in [(client(six, 50), true), (unrouted(six, 50), false)] {
                    let (_, out) = rig.run(&arriving(&segment(protocol, from, to, "S").ip()));
                    let ours = ends(&out[14..]).0;
                    for size in cuts(six) {
                        rows.push(forth(six, number, size, [from, to, ours, at], protocol));
                        rows.push(back(
                            six,
                            number,
                            size,
                            [from, to, ours, at],
                            protocol,
                            is_routed,
                        ));
                    }
                }
                check_on(&mut rig, &rows);
            }
        }
    }
}

fn forth(six: bool, number: u16, size: usize, ends: [SocketAddr; 4], protocol: u8) -> Row {
    let [from, to, ours, at] = ends;
    let sent = segment(protocol, to, from, "A");
    let error = error(six, to.ip(), &cut(&sent, size));
    let quote = requoted(&sent, &segment(protocol, at, ours, "A"), size);
    let goes = error.clone().to((at.ip(), 0).into()).payload(&quote).hop();
    row(format!("to the server, {size} quoted"), error)
        .rfc("RFC 5508 4.2")
        .forwards(
            ForwardError,
            XDP_TX,
            number,
            framed(mac_of(number), OWN, &[], &goes.ip()),
        )
}

fn back(
    six: bool,
    number: u16,
    size: usize,
    ends: [SocketAddr; 4],
    protocol: u8,
    is_routed: bool,
) -> Row {
    let [from, to, ours, at] = ends;
    let sent = segment(protocol, ours, at, "A");
    let error = error(six, ours.ip(), &cut(&sent, size));
    let quote = requoted(&sent, &segment(protocol, from, to, "A"), size);
    let goes = error
        .clone()
        .from((to.ip(), 0).into())
        .to((from.ip(), 0).into())
        .payload(&quote);
    let row = row(format!("to the client, {size} quoted"), error).rfc("RFC 5508 4.2");
    if is_routed {
        let out = framed(ROUTER_MAC, OWN, &[], &goes.hop().ip());
        row.returns(ReturnError, XDP_TX, number, out)
    } else {
        row.returns(ReturnKernel, XDP_PASS, number, arriving(&goes.ip()))
    }
}

/// Routers in tunnels that find a packet too long: outer header IPv4 or IPv6, GUE or not.
#[test]
fn too_big_in_a_tunnel() {
    relayed();
}

/// Runs the rows of tunnels; the verdicts that were seen.
pub fn relayed() -> std::collections::BTreeSet<Verdict> {
    let mut rig = site::rig();
    let mut seen = std::collections::BTreeSet::new();
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
    const RFC: &str = "RFC 2003 5, RFC 2473 8";
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
    rows.push(row("to another host's MAC", nobody).passes(Verdict::PassOtherHost));
    rows
}
