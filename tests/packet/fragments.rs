//! Later fragments follow their first one.

use lb_common::{abi::BackendState, verdict::Verdict};

use crate::{
    modes::{VERSIONS, backend, client, server, stranger, unrouted, vip},
    packet::{Packet, arriving, framed, too_big},
    rig::{XDP_PASS, XDP_TX},
    row::{Row, check, row},
    site::{CLIENT_MAC, OWN, ROUTER_MAC, TCP, UDP, mac_of},
};

const RFC: &str = "RFC 791 3.2, RFC 8200 4.5";
/// Bytes of a fragment; the datagrams have three of them.
const SIZE: usize = 40;
const PAYLOAD: [u8; 90] = [0xa5; 90];

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for six in VERSIONS {
        rows.extend(forth(six));
        rows.extend(back(six));
        rows.extend(early(six));
        rows.extend(too_long(six));
        // Last, since they change backends.
        rows.extend(late(six));
    }
    rows
}

fn datagram(six: bool, from: u16, port: u16) -> Packet {
    Packet::udp(client(six, from), vip(six, port), &PAYLOAD).id(from.into())
}

fn forth(six: bool) -> Vec<Row> {
    use Verdict::{DropTtl, ForwardFragment, ForwardNew};
    let mut rows = Vec::new();
    for (from, port, protocol) in [(1, 80, UDP), (2, 90, UDP), (3, 91, UDP), (4, 90, TCP)] {
        let number = backend(six, port, protocol);
        let packet = match protocol {
            TCP => Packet::tcp(client(six, from), vip(six, port), "S").payload(&PAYLOAD),
            _ => datagram(six, from, port),
        }
        .id(from.into());
        let at = server(six, number, if port == 91 { 91 } else { 8_080 });
        let goes = match port {
            80 => packet.clone(),
            _ => packet.clone().to(at).hop(),
        };
        for (place, (came, goes)) in packet
            .fragments(SIZE)
            .iter()
            .zip(goes.fragments(SIZE))
            .enumerate()
        {
            let (name, verdict) = match place {
                0 => ("the first", ForwardNew),
                1 => ("one behind it", ForwardFragment),
                _ => ("the last", ForwardFragment),
            };
            rows.push(
                row(format!("{name}, to {port}"), arriving(came))
                    .rfc(RFC)
                    .forwards(
                        verdict,
                        XDP_TX,
                        number,
                        framed(mac_of(number), OWN, &[], &goes),
                    ),
            );
        }
    }
    for (from, mode) in [(5, (60, false, false, &[][..])), (6, (63, true, true, &[]))] {
        let packet = datagram(six, from, mode.0);
        let number = backend(six, mode.0, UDP);
        let inner = packet.clone().hop();
        for (place, came) in packet.fragments(SIZE).into_iter().enumerate() {
            let (inner, part) = (inner.clone(), inner.fragments(SIZE)[place].clone());
            let verdict = if place == 0 {
                ForwardNew
            } else {
                ForwardFragment
            };
            rows.push(
                row(format!("fragment {place} into a tunnel"), arriving(&came))
                    .rfc(RFC)
                    .forwards(verdict, XDP_TX, number, Vec::new())
                    .like(move |got| crate::tunnel::encapsulated(mode, number, &inner, &part, got)),
            );
        }
    }
    let dying = datagram(six, 2, 90).ttl(1).fragments(SIZE)[1].clone();
    rows.push(
        row("no hop left", arriving(&dying))
            .rfc("RFC 1812 5.3.1, RFC 8200 3")
            .drops(DropTtl),
    );
    rows
}

/// From servers of `nat`.
fn back(six: bool) -> Vec<Row> {
    use Verdict::{DropTtl, PassNotVip, ReturnFragment, ReturnKernel, ReturnNat};
    let number = backend(six, 90, UDP);
    let at = server(six, number, 8_080);
    let arriving = |ip: &[u8]| framed(OWN, mac_of(number), &[], ip);
    let mut rows = Vec::new();
    for (client, is_routed) in [(client(six, 10), true), (unrouted(six, 10), false)] {
        let answer = Packet::udp(at, client, &PAYLOAD).id(10);
        let translated = answer.clone().from(vip(six, 90));
        let opened = Packet::udp(client, vip(six, 90), b"?");
        for (place, came) in answer.fragments(SIZE).into_iter().enumerate() {
            let mut row = row(format!("fragment {place} of an answer"), arriving(&came)).rfc(RFC);
            if place == 0 {
                row = row.after([&opened]);
            }
            let verdict = if place == 0 {
                ReturnNat
            } else {
                ReturnFragment
            };
            rows.push(if is_routed {
                let part = &translated.clone().hop().fragments(SIZE)[place];
                row.returns(verdict, XDP_TX, number, framed(ROUTER_MAC, OWN, &[], part))
            } else {
                let part = &translated.fragments(SIZE)[place];
                row.returns(ReturnKernel, XDP_PASS, number, arriving(part))
            });
        }
    }
    let answer = Packet::udp(at, client(six, 10), &PAYLOAD);
    let dying = answer.clone().id(10).ttl(1).fragments(SIZE)[2].clone();
    let other = answer.id(11).fragments(SIZE)[2].clone();
    rows.push(row("an answer's fragment without a hop left", arriving(&dying)).drops(DropTtl));
    rows.push(row("a server's fragment of something else", arriving(&other)).passes(PassNotVip));
    rows
}

/// Before their first one, or without any.
fn early(six: bool) -> Vec<Row> {
    use Verdict::{DropFragment, DropVipProtocol, PassNotVip};
    let later = |packet: &Packet| arriving(&packet.fragments(SIZE)[1]);
    let to_others = Packet::udp(client(six, 20), stranger(six, 20), &PAYLOAD);
    let echo = Packet::echo(client(six, 0).ip(), vip(six, 0).ip()).payload(&PAYLOAD);
    let sctp = Packet::other(client(six, 0).ip(), vip(six, 0).ip(), 132).payload(&PAYLOAD);
    let first = datagram(six, 21, 80).fragments(SIZE)[0].clone();
    let mut rows = vec![
        row("before its first", later(&datagram(six, 20, 80)))
            .rfc(RFC)
            .drops(DropFragment),
        row(
            "its first in vain: to no service",
            later(&datagram(six, 22, 22).id(22)),
        )
        .after([&arriving(&datagram(six, 22, 22).fragments(SIZE)[0])])
        .drops(DropFragment),
        row("of another packet", later(&datagram(six, 21, 80).id(99)))
            .after([&arriving(&first)])
            .drops(DropFragment),
        row(
            "from another client",
            later(&datagram(six, 21, 80).from(stranger(six, 21))),
        )
        .drops(DropFragment),
        row("to another address", later(&to_others)).passes(PassNotVip),
        row(
            "the first one to another address",
            arriving(&to_others.fragments(SIZE)[0]),
        )
        .passes(PassNotVip),
        row("an echo's first", arriving(&echo.fragments(SIZE)[0])).drops(DropFragment),
        row("an echo's second", later(&echo)).drops(DropFragment),
        row("SCTP's first", arriving(&sctp.fragments(SIZE)[0])).drops(DropVipProtocol),
    ];
    if !six {
        // IPv6 tells fragments by identification alone.
        let other = Packet::tcp(client(six, 21), vip(six, 80), "S").payload(&PAYLOAD);
        rows.push(
            row("of another protocol", later(&other.id(21)))
                .rfc(RFC)
                .drops(DropFragment),
        );
        rows.push(row("SCTP's second", later(&sctp)).drops(DropVipProtocol));
    }
    rows
}

fn too_long(six: bool) -> Vec<Row> {
    use Verdict::{AnswerTooBig, DropTooBig};
    let packet = Packet::udp(client(six, 30), vip(six, 83), &[7; 3_000]).id(30);
    let body = packet.body();
    let short = arriving(&packet.part(&body[..64], Some((0, true))));
    let (first, later) = (
        packet.part(&body[..1_320], Some((0, true))),
        packet.part(&body[64..1_384], Some((8, true))),
    );
    let told = framed(CLIENT_MAC, OWN, &[], &too_big(&first, 1_300).ip());
    let second = row("a later one too long for its way", arriving(&later)).after([&short]);
    vec![
        row("a first one too long for its way", arriving(&first))
            .rfc("RFC 1191 4, RFC 4443 3.2")
            .answers(AnswerTooBig, told),
        if six {
            let told = framed(CLIENT_MAC, OWN, &[], &too_big(&later, 1_300).ip());
            second.rfc("RFC 4443 2.4 (e)").answers(AnswerTooBig, told)
        } else {
            second.rfc("RFC 1812 4.3.2.7").drops(DropTooBig)
        },
    ]
}

/// When the packet that they belong to can't be completed any more.
fn late(six: bool) -> Vec<Row> {
    use Verdict::DropFragment;
    let parts = datagram(six, 40, 80).fragments(SIZE);
    let again = datagram(six, 41, 80).fragments(SIZE);
    let down: fn(&mut crate::rig::Rig) = if six {
        |rig| rig.state(backend(true, 80, UDP), BackendState::Down)
    } else {
        |rig| rig.state(backend(false, 80, UDP), BackendState::Down)
    };
    vec![
        row("half a minute after its first", arriving(&parts[1]))
            .rfc("RFC 791 3.2")
            .after([&arriving(&parts[0])])
            .when(|rig| rig.age_fragments())
            .drops(DropFragment),
        row("after its backend has failed", arriving(&again[1]))
            .after([&arriving(&again[0])])
            .when(down)
            .drops(DropFragment),
    ]
}

#[test]
fn fragments() {
    check(&rows());
}
