//! `full-nat`: both ends are rewritten, and a port of the pool stands for the flow.

use std::{collections::BTreeMap, net::SocketAddr};

use lb_common::{abi::BackendState, verdict::Verdict};

use crate::{
    modes::{NARROW, VERSIONS, backend, client, far_client, pool, server, stranger, unrouted, vip},
    packet::{Packet, arriving, echo_reply, ends, framed, too_big},
    rig::{self, POOL_BUCKETS, POOL_FIRST, Rig, XDP_PASS, XDP_TX},
    row::{Row, check, check_on, row},
    site::{self, CLIENT_MAC, OWN, ROUTER_MAC, TCP, UDP, mac_of},
};

const PROTOCOLS: [u8; 2] = [TCP, UDP];

/// Where the server of a service listens.
fn at(six: bool, port: u16, protocol: u8) -> SocketAddr {
    let own = if port == 71 { 71 } else { 8_080 };
    server(six, backend(six, port, protocol), own)
}

/// What opens a flow of this protocol.
pub fn opener(protocol: u8, from: SocketAddr, to: SocketAddr) -> Packet {
    match protocol {
        TCP => Packet::tcp(from, to, "S"),
        _ => Packet::udp(from, to, b"who?"),
    }
}

/// What makes it a flow that is in use.
pub fn more(protocol: u8, from: SocketAddr, to: SocketAddr) -> Packet {
    match protocol {
        TCP => Packet::tcp(from, to, "A"),
        _ => Packet::udp(from, to, b"more"),
    }
}

/// The packet as the server gets it: from whichever port of the pool it came out of.
pub fn translated(
    six: bool,
    server: SocketAddr,
    number: u16,
    packet: &Packet,
    got: &[u8],
) -> Vec<u8> {
    let port = ends(&got[14..]).0.port();
    let ports = POOL_FIRST..POOL_FIRST + 8 * POOL_BUCKETS;
    assert!(ports.contains(&port), "port {port} is none of the pool's");
    let out = packet.clone().from((pool(six), port).into()).to(server);
    framed(mac_of(number), OWN, &[], &out.hop().ip())
}

/// Opens a flow: our end of it, as the server sees it.
fn open(rig: &mut Rig, packet: &Packet) -> SocketAddr {
    let sent = rig.send(&arriving(&packet.ip()));
    assert_eq!(sent.action, XDP_TX, "{sent:?}");
    ends(&sent.bytes[14..]).0
}

/// What needs no port to be known beforehand.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for six in VERSIONS {
        for protocol in PROTOCOLS {
            rows.extend(forth(six, protocol));
        }
        rows.extend(to_the_pool(six));
        rows.extend(exhausted(six));
    }
    rows
}

fn forth(six: bool, protocol: u8) -> Vec<Row> {
    use Verdict::{DropTtl, ForwardKnown, ForwardNew};
    let mut rows = Vec::new();
    for port in [70, 71] {
        let (from, to) = (client(six, 1), vip(six, port));
        let (number, at) = (backend(six, port, protocol), at(six, port, protocol));
        let (first, second) = (opener(protocol, from, to), more(protocol, from, to));
        let last = first.clone().ttl(2).from(client(six, 2));
        for (name, verdict, packet) in [
            ("what opens a flow", ForwardNew, first.clone()),
            ("what follows", ForwardKnown, second),
            ("a hop limit of 2", ForwardNew, last),
        ] {
            let goes = packet.clone();
            rows.push(
                row(format!("{name}, to {port}"), packet)
                    .rfc("RFC 3022 4.1")
                    .forwards(verdict, XDP_TX, number, Vec::new())
                    .like(move |got| translated(six, at, number, &goes, got)),
            );
        }
        rows.push(
            row("no hop left", first.from(client(six, 3)).ttl(1))
                .rfc("RFC 1812 5.3.1, RFC 8200 3")
                .drops(DropTtl),
        );
    }
    if protocol == UDP {
        let packet = Packet::udp(client(six, 4), vip(six, 70), b"odd").unchecked();
        let (goes, number) = (packet.clone(), backend(six, 70, UDP));
        rows.push(
            row("no checksum stays none", packet)
                .rfc("RFC 768")
                .forwards(ForwardNew, XDP_TX, number, Vec::new())
                .like(move |got| translated(six, at(six, 70, UDP), number, &goes, got)),
        );
        return rows;
    }
    let (number, at) = (backend(six, 70, TCP), at(six, 70, TCP));
    let adopted = Packet::tcp(client(six, 5), vip(six, 70), "PA").payload(b"odd");
    let goes = adopted.clone();
    rows.push(
        row("the middle of an unknown flow", adopted)
            .forwards(Verdict::ForwardAdopted, XDP_TX, number, Vec::new())
            .like(move |got| translated(six, at, number, &goes, got)),
    );
    for flags in ["F", "FA", "R", "RA"] {
        let end = Packet::tcp(client(six, 6), vip(six, 70), flags);
        let row = row(format!("the end of one: {flags}"), end);
        rows.push(row.drops(Verdict::DropClosedPort));
    }
    rows
}

/// What comes to the pool's address from nobody whom it has spoken to.
fn to_the_pool(six: bool) -> Vec<Row> {
    use Verdict::{AnswerEcho, DropClosedPort};
    let mut rows: Vec<Row> = [
        0,
        22,
        POOL_FIRST - 1,
        POOL_FIRST,
        POOL_FIRST + 8 * POOL_BUCKETS,
        65_535,
    ]
    .into_iter()
    .flat_map(|port| {
        let to = (pool(six), port).into();
        PROTOCOLS.map(|protocol| {
            let packet = opener(protocol, stranger(six, 1), to);
            row(format!("to port {port}"), packet).drops(DropClosedPort)
        })
    })
    .collect();
    let echo = Packet::echo(client(six, 0).ip(), pool(six));
    let reply = framed(CLIENT_MAC, OWN, &[], &echo_reply(&echo).ip());
    rows.push(row("an echo", echo).answers(AnswerEcho, reply));
    rows
}

fn exhausted(six: bool) -> Vec<Row> {
    use Verdict::{DropClosedPort, DropNoPort};
    let tcp = |flags| Packet::tcp(client(six, 60), vip(six, 70), flags);
    let mut rows = vec![
        row("no port is free", tcp("S"))
            .when(Rig::exhaust)
            .drops(DropNoPort),
        row("no port is free, mid-stream", tcp("PA"))
            .when(Rig::exhaust)
            .drops(DropNoPort),
        row(
            "no port is free, UDP",
            opener(UDP, client(six, 60), vip(six, 70)),
        )
        .when(Rig::exhaust)
        .drops(DropNoPort),
        row("an end needs none", tcp("FA"))
            .when(Rig::exhaust)
            .drops(DropClosedPort),
    ];
    // For the rows behind.
    let number = backend(six, 70, TCP);
    rows.push(
        row("a port is free again", tcp("S"))
            .when(Rig::forget)
            .forwards(Verdict::ForwardNew, XDP_TX, number, Vec::new())
            .like(move |got| {
                translated(
                    six,
                    at(six, 70, TCP),
                    number,
                    &Packet::tcp(client(six, 60), vip(six, 70), "S"),
                    got,
                )
            }),
    );
    rows
}

#[test]
fn towards_the_servers() {
    check(&rows());
}

#[test]
fn back_to_the_clients() {
    let mut rig = site::rig();
    for six in VERSIONS {
        for protocol in PROTOCOLS {
            for port in [70, 71] {
                let rows = back(&mut rig, six, protocol, port);
                check_on(&mut rig, &rows);
            }
        }
    }
}

fn back(rig: &mut Rig, six: bool, protocol: u8, port: u16) -> Vec<Row> {
    use Verdict::{AnswerTooBig, DropClosedPort, DropTtl, ReturnFragment, ReturnKernel, ReturnNat};
    let number = backend(six, port, protocol);
    let (at, to) = (at(six, port, protocol), vip(six, port));
    let arriving = |packet: &Packet| framed(OWN, mac_of(number), &[], &packet.ip());
    let answer = |our: SocketAddr| match protocol {
        TCP => Packet::tcp(at, our, "SA"),
        _ => Packet::udp(at, our, b"odd"),
    };
    let (near, kernel, far) = (client(six, 20), unrouted(six, 20), far_client(six, 20));
    let ours = [near, kernel, far].map(|client| open(rig, &opener(protocol, client, to)));
    let [to_near, to_kernel, to_far] = ours.map(answer);
    let home = to_near.clone().from(to).to(near);
    let up = arriving(&to_kernel.clone().from(to).to(kernel));
    let long = Packet::udp(at, ours[2], &[9; 1_400]);
    let mut rows = vec![
        row("an answer", arriving(&to_near))
            .rfc("RFC 3022 4.1")
            .returns(
                ReturnNat,
                XDP_TX,
                number,
                framed(ROUTER_MAC, OWN, &[], &home.hop().ip()),
            ),
        row("an answer that the kernel routes", arriving(&to_kernel)).returns(
            ReturnKernel,
            XDP_PASS,
            number,
            up,
        ),
        row(
            "an answer without a hop left",
            arriving(&to_near.clone().ttl(1)),
        )
        .rfc("RFC 1812 5.3.1, RFC 8200 3")
        .drops(DropTtl),
        row(
            "from another host",
            arriving(&to_near.clone().from(stranger(six, at.port()))),
        )
        .drops(DropClosedPort),
        row(
            "from another port",
            arriving(&to_near.clone().from((at.ip(), at.port() + 1).into())),
        )
        .drops(DropClosedPort),
        row(
            "by the other protocol",
            arriving(&opener(
                if protocol == TCP { UDP } else { TCP },
                at,
                ours[0],
            )),
        )
        .drops(DropClosedPort),
    ];
    if protocol == UDP {
        let told = too_big(&long.ip(), NARROW.into()).ip();
        rows.push(
            row("an answer too long for its way", arriving(&long))
                .rfc("RFC 1191 4, RFC 4443 3.2")
                .answers(AnswerTooBig, framed(mac_of(number), OWN, &[], &told)),
        );
        let answer = Packet::udp(at, ours[0], &[7; 90]).id(77);
        let home = answer.clone().from(to).to(near).hop().fragments(40);
        for (place, (came, goes)) in answer.fragments(40).iter().zip(home).enumerate() {
            let verdict = if place == 0 {
                ReturnNat
            } else {
                ReturnFragment
            };
            rows.push(
                row(
                    format!("fragment {place} of an answer"),
                    framed(OWN, mac_of(number), &[], came),
                )
                .rfc("RFC 791 3.2, RFC 8200 4.5")
                .returns(
                    verdict,
                    XDP_TX,
                    number,
                    framed(ROUTER_MAC, OWN, &[], &goes),
                ),
            );
        }
        let asked = Packet::udp(near, to, &[8; 90]).id(78);
        let goes = asked.clone().from(ours[0]).to(at).hop().fragments(40);
        for (place, (came, goes)) in asked.fragments(40).iter().zip(goes).enumerate() {
            let verdict = match place {
                0 => Verdict::ForwardKnown,
                _ => Verdict::ForwardFragment,
            };
            rows.push(
                row(
                    format!("fragment {place} to the server"),
                    &framed(OWN, CLIENT_MAC, &[], came)[..],
                )
                .rfc("RFC 791 3.2, RFC 8200 4.5")
                .forwards(
                    verdict,
                    XDP_TX,
                    number,
                    framed(mac_of(number), OWN, &[], &goes),
                ),
            );
        }
    }
    rows.push(
        row("an answer to the far client", arriving(&to_far)).returns(
            ReturnNat,
            rig::XDP_REDIRECT,
            number,
            framed(
                site::FAR_ROUTER_MAC,
                site::OTHER,
                &[(0x8100, 5)],
                &to_far.clone().from(to).to(far).hop().ip(),
            ),
        ),
    );
    rows
}

/// Flows that are in use have a port each, and keep it whatever comes; nobody else is
/// given it.
#[test]
fn a_port_is_given_once() {
    let mut rig = site::rig();
    for six in VERSIONS {
        for protocol in PROTOCOLS {
            rig.forget();
            let mut ports = BTreeMap::new();
            for n in 1..=250 {
                let (from, to) = (client(six, n), vip(six, 70));
                let sent = rig.send(&arriving(&opener(protocol, from, to).ip()));
                // Both of a flow's buckets may be full long before all are.
                if sent.verdict == Verdict::DropNoPort {
                    continue;
                }
                let ours = ends(&sent.bytes[14..]).0;
                assert_eq!(open(&mut rig, &more(protocol, from, to)), ours);
                assert_eq!(ports.insert(ours, from), None, "{ours} was given before");
            }
            assert!(ports.len() > 240, "{} of 250 have ports", ports.len());
            // Many times as many as there are ports.
            let mut refused = 0;
            for n in 1_000..6_000 {
                let packet = opener(protocol, client(six, n), vip(six, 70));
                let sent = rig.send(&arriving(&packet.ip()));
                match sent.verdict {
                    Verdict::DropNoPort => refused += 1,
                    Verdict::ForwardNew => {
                        let ours = ends(&sent.bytes[14..]).0;
                        assert!(!ports.contains_key(&ours), "{ours} is in use");
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(refused < 500, "{refused} of 5000 had no port");
            for (&ours, &from) in &ports {
                assert_eq!(open(&mut rig, &more(protocol, from, vip(six, 70))), ours);
            }
        }
    }
}

/// One client port, one connection after the other.
#[test]
fn a_client_may_use_its_port_again() {
    let mut rig = site::rig();
    for six in VERSIONS {
        let (from, to) = (client(six, 7), vip(six, 70));
        let send = |rig: &mut Rig, flags| {
            let sent = rig.send(&arriving(&Packet::tcp(from, to, flags).ip()));
            (sent.verdict, ends(&sent.bytes[14..]).0)
        };
        let (verdict, ours) = send(&mut rig, "S");
        assert_eq!(verdict, Verdict::ForwardNew);
        for flags in ["A", "PA", "FA", "A"] {
            assert_eq!(send(&mut rig, flags), (Verdict::ForwardKnown, ours));
        }
        let (verdict, again) = send(&mut rig, "S");
        assert_eq!(verdict, Verdict::ForwardNew);
        assert_eq!(send(&mut rig, "A"), (Verdict::ForwardKnown, again));
    }
}

/// A flow whose backend fails keeps its port, and goes to another.
#[test]
fn a_flow_that_moves_keeps_its_port() {
    for six in VERSIONS {
        let mut rig = site::rig();
        let (from, to) = (client(six, 8), vip(six, 70));
        let ours = open(&mut rig, &Packet::tcp(from, to, "S"));
        open(&mut rig, &Packet::tcp(from, to, "A"));
        let other = backend(six, 71, TCP);
        rig.state(backend(six, 70, TCP), BackendState::Down);
        rig.wheel_at((to.ip(), 70, TCP), &[other]);
        let data = Packet::tcp(from, to, "PA").payload(b"more");
        let goes = data.clone().from(ours).to(server(six, other, 70)).hop();
        let answer = Packet::tcp(server(six, other, 70), ours, "R");
        let home = framed(
            ROUTER_MAC,
            OWN,
            &[],
            &answer.clone().from(to).to(from).hop().ip(),
        );
        check_on(
            &mut rig,
            &[
                row("a flow whose backend has failed", data).forwards(
                    Verdict::ForwardMoved,
                    XDP_TX,
                    other,
                    framed(mac_of(other), OWN, &[], &goes.ip()),
                ),
                row(
                    "the new one's answer",
                    framed(OWN, mac_of(other), &[], &answer.ip()),
                )
                .returns(Verdict::ReturnNat, XDP_TX, other, home),
            ],
        );
    }
}
