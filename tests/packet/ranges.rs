//! Services on a range of ports and on any port.

use std::net::SocketAddr;

use lb_common::verdict::Verdict;

use crate::{
    modes::{VERSIONS, any_port, backend, client, open_vip, server, vip},
    packet::{Packet, framed},
    rig::XDP_TX,
    row::{Row, check, row},
    site::{OWN, ROUTER_MAC, TCP, UDP, mac_of},
};

pub fn rows() -> Vec<Row> {
    VERSIONS.into_iter().flat_map(ranges).collect()
}

fn packet(protocol: u8, from: SocketAddr, to: SocketAddr) -> Packet {
    match protocol {
        TCP => Packet::tcp(from, to, "S"),
        _ => Packet::udp(from, to, b"?"),
    }
}

fn ranges(six: bool) -> Vec<Row> {
    use Verdict::{DropClosedPort, ForwardNew, ReturnNat};
    let mut rows = Vec::new();
    // TCP: 7000 to 7099 by dsr before 7050 to 7149 by nat. UDP: only the latter.
    for (name, protocol, port, service, is_nat) in [
        ("the first port", TCP, 7_000, 7_000, false),
        (
            "a port of both ranges: the first one's",
            TCP,
            7_051,
            7_000,
            false,
        ),
        ("the last port", TCP, 7_099, 7_000, false),
        ("the next port: the second range's", TCP, 7_100, 7_050, true),
        ("the last port of the second", TCP, 7_149, 7_050, true),
        ("the first range is TCP's only", UDP, 7_050, 7_050, true),
        ("the second range's last port, UDP", UDP, 7_149, 7_050, true),
    ] {
        let number = backend(six, service, protocol);
        let packet = packet(protocol, client(six, 1), vip(six, port));
        let goes = match is_nat {
            true => packet.clone().to(server(six, number, port)).hop(),
            false => packet.clone(),
        };
        let out = framed(mac_of(number), OWN, &[], &goes.ip());
        rows.push(row(name, packet).forwards(ForwardNew, XDP_TX, number, out));
        if is_nat {
            let at = server(six, number, port);
            let answer = match protocol {
                TCP => Packet::tcp(at, client(six, 1), "SA"),
                _ => Packet::udp(at, client(six, 1), b"!"),
            };
            let home = answer.clone().from(vip(six, port)).hop().ip();
            rows.push(
                row("its answer", framed(OWN, mac_of(number), &[], &answer.ip())).returns(
                    ReturnNat,
                    XDP_TX,
                    number,
                    framed(ROUTER_MAC, OWN, &[], &home),
                ),
            );
        }
    }
    for (name, protocol, port) in [
        ("below the ranges", TCP, 6_999),
        ("behind the ranges", TCP, 7_150),
        ("below the range, UDP", UDP, 7_049),
        ("behind the range, UDP", UDP, 7_150),
    ] {
        let packet = packet(protocol, client(six, 1), vip(six, port));
        rows.push(row(name, packet).drops(DropClosedPort));
    }
    // A service of one port alone, inside a range.
    let inside = backend(six, 7_020, TCP);
    rows.push(
        row(
            "a port of its own inside a range",
            Packet::tcp(client(six, 1), vip(six, 7_020), "S").ttl(9),
        )
        .forwards(ForwardNew, XDP_TX, inside, Vec::new())
        .like(move |got| {
            let inner = Packet::tcp(client(six, 1), vip(six, 7_020), "S").ttl(8);
            let mode = (7_020, false, false, &[][..]);
            crate::tunnel::encapsulated(mode, inside, &inner, &inner.ip(), got)
        }),
    );
    for port in [1, 22, 80, 65_535] {
        let (tcp, udp) = (any_port(six, TCP), any_port(six, UDP));
        let at = server(six, tcp, port);
        let syn = packet(TCP, client(six, 2), open_vip(six, port));
        let datagram = packet(UDP, client(six, 2), open_vip(six, port));
        let answer = Packet::tcp(at, client(six, 2), "SA");
        let home = answer.clone().from(open_vip(six, port)).hop().ip();
        let out = framed(mac_of(tcp), OWN, &[], &syn.clone().to(at).hop().ip());
        let direct = framed(mac_of(udp), OWN, &[], &datagram.ip());
        rows.extend([
            row("any port", syn).forwards(ForwardNew, XDP_TX, tcp, out),
            row("its answer", framed(OWN, mac_of(tcp), &[], &answer.ip())).returns(
                ReturnNat,
                XDP_TX,
                tcp,
                framed(ROUTER_MAC, OWN, &[], &home),
            ),
            row("any port, UDP", datagram).forwards(ForwardNew, XDP_TX, udp, direct),
        ]);
    }
    rows
}

#[test]
fn ranges_and_any_port() {
    check(&rows());
}
