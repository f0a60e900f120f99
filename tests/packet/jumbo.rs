//! Frames that lie in several buffers, through the program for them: only their beginning
//! is in the first one, and they are longer than that.

use aya::maps::MapData;
use flowgate::datapath::{
    Constants, Object,
    object::{OBJECT, PROGRAM, PROGRAM_FRAGS, SHARED_MAPS},
    regions::NAMES,
};
use flowgate_tests::bpffs::PinDir;
use lb_common::{
    abi::{Backend, Hop, Route, Route6},
    verdict::Verdict,
};

use crate::{
    coverage, full_nat,
    modes::{NARROW, VERSIONS, backend, client, far_client, server, vip},
    packet::{Packet, Tags, arriving, echo_reply, framed, too_big},
    rig::{self, Lent, Rig, XDP_TX},
    row::{Row, check_through, row},
    site::{self, CLIENT_MAC, MTU, OWN, ROUTER_MAC, TCP, UDP, mac_of},
    tunnel::encapsulated,
};

/// The longest IP packet that the ways take here.
const JUMBO: u16 = 9_000;
/// A usual length of the long ones: three buffers. It isn't a multiple of anything.
const LONG: usize = 8_901;
/// Bytes of a long fragment, which IPv4 and IPv6 count in eights.
const PART: usize = 8_800;
/// What the kernel keeps of a map's name.
const NAME: usize = 15;

/// `flowgate_frags` on a rig's maps.
struct Frags(Object);

impl Frags {
    fn on(rig: &mut Rig) -> Self {
        let pins = PinDir::new().expect("a BPF file system");
        std::fs::create_dir(pins.path()).expect("a directory for pins");
        let program = rig.object.program(PROGRAM).expect("loaded");
        let info = program.info().expect("the kernel tells of it");
        let ids = info.map_ids().expect("and of its maps");
        for id in ids.expect("which it has") {
            let map = MapData::from_id(id).expect("a map");
            let info = map.info().expect("the kernel tells of it");
            let name = info.name_as_str().expect("ASCII");
            let whole = |whole: &&&str| whole[..whole.len().min(NAME)] == *name;
            if let Some(name) = NAMES.iter().chain(&SHARED_MAPS).find(whole) {
                map.pin(pins.path().join(name)).expect("a pin");
            }
        }
        let constants = Constants {
            identity: rig.identity,
            egress: 0,
            mac: OWN,
            sample: 0,
            has_buffers: true,
        };
        let mut object = Object::load(OBJECT, &constants, Some(pins.path())).expect("loading");
        object
            .program(PROGRAM_FRAGS)
            .expect("the verifier takes it");
        let followed = rig.tables.follow_devices(&mut object);
        followed.expect("the other program's interfaces");
        Frags(object)
    }

    fn run(&mut self, packet: &[u8]) -> (u32, Vec<u8>) {
        rig::run(&mut self.0, PROGRAM_FRAGS, packet)
    }
}

/// The site, with ways that take [`JUMBO`] bytes where they took [`MTU`].
fn rig() -> Lent {
    let mut rig = site::rig();
    for number in rig.numbers() {
        let backend = rig.tables.backends.load(u32::from(number));
        if backend.mtu == MTU {
            let mtu = JUMBO;
            rig.backend(number, &Backend { mtu, ..backend });
        }
    }
    let wide = |hop: Hop| Hop {
        mtu: if hop.mtu == MTU { JUMBO } else { hop.mtu },
        ..hop
    };
    let four = rig.tables.routes().into_iter().map(|route| Route {
        hop: wide(route.hop),
        ..route
    });
    rig.tables.put_routes(&four.collect::<Vec<_>>());
    let six = rig.tables.routes6().into_iter().map(|route| Route6 {
        hop: wide(route.hop),
        ..route
    });
    rig.tables.put_routes6(&six.collect::<Vec<_>>());
    rig
}

/// Bytes of which no two buffers have the same.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

/// A segment of a client's whose IP packet is so long.
fn segment(six: bool, from: u16, port: u16, length: usize) -> Packet {
    let headers = if six { 60 } else { 40 };
    Packet::tcp(client(six, from), vip(six, port), "PA").payload(&bytes(length - headers))
}

/// Likewise a datagram.
fn datagram(six: bool, from: u16, port: u16, length: usize) -> Packet {
    let headers = if six { 48 } else { 28 };
    let packet = Packet::udp(client(six, from), vip(six, port), &bytes(length - headers));
    packet.id(from.into())
}

#[test]
fn of_several_buffers() {
    let mut rig = rig();
    // The other program takes the first buffer for all: there are more.
    let sent = rig.send(&arriving(&segment(false, 1, 80, LONG).ip()));
    assert_eq!(sent.verdict, Verdict::DropMalformed);
    let mut frags = Frags::on(&mut rig);
    for six in VERSIONS {
        let rows = [
            forth(six),
            into_tunnels(six),
            back(six),
            in_fragments(six),
            too_long(six),
            odd(six),
        ];
        check_through(
            &mut rig,
            &mut |_, packet| frags.run(packet),
            &rows.into_iter().flatten().collect::<Vec<_>>(),
        );
    }
}

/// The same becomes of frames that lie in one buffer as by the other program.
#[test]
fn of_one_buffer() {
    let mut rig = site::rig();
    let mut frags = Frags::on(&mut rig);
    let load = |rig: &Rig, number| rig.tables.backends.load(u32::from(number));
    let numbers = rig.numbers();
    let backends: Vec<Backend> = numbers.iter().map(|&number| load(&rig, number)).collect();
    for rows in coverage::tables() {
        check_through(&mut rig, &mut |_, packet| frags.run(packet), &rows);
        // For the next table's rows.
        rig.forget();
        for (&number, backend) in numbers.iter().zip(&backends) {
            rig.backend(number, backend);
        }
    }
}

fn forth(six: bool) -> Vec<Row> {
    use Verdict::{ForwardAdopted, ForwardKnown, ForwardNew};
    let tags: Tags<'_> = &[(0x8100, 5)];
    let mut rows = Vec::new();
    for (port, own, tags) in [
        (80, None, &[][..]),
        (81, None, tags),
        (90, Some(8_080), &[]),
        (91, Some(91), &[]),
        (92, Some(8_080), tags),
    ] {
        let goes = |number, packet: &Packet| {
            let packet = match own {
                Some(own) => packet.clone().to(server(six, number, own)).hop(),
                None => packet.clone(),
            };
            framed(mac_of(number), OWN, tags, &packet.ip())
        };
        for (name, length, verdict) in [
            ("a segment", LONG, ForwardAdopted),
            ("the longest", JUMBO.into(), ForwardKnown),
        ] {
            let (packet, number) = (segment(six, 1, port, length), backend(six, port, TCP));
            let out = goes(number, &packet);
            rows.push(
                row(format!("{name}, to {port}"), packet).forwards(verdict, XDP_TX, number, out),
            );
        }
        let (packet, number) = (datagram(six, 1, port, LONG), backend(six, port, UDP));
        let out = goes(number, &packet);
        rows.push(
            row(format!("a datagram, to {port}"), packet).forwards(ForwardNew, XDP_TX, number, out),
        );
    }
    let (packet, number) = (segment(six, 1, 70, LONG), backend(six, 70, TCP));
    let goes = packet.clone();
    rows.push(
        row("a segment, by full-nat", packet)
            .forwards(ForwardAdopted, XDP_TX, number, Vec::new())
            .like(move |got| {
                full_nat::translated(six, server(six, number, 8_080), number, &goes, got)
            }),
    );
    rows
}

fn into_tunnels(six: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (mode, overhead) in [
        ((60, false, false, &[][..]), 20),
        ((61, true, false, &[]), 40),
        ((62, false, true, &[]), 28),
        ((63, true, true, &[]), 48),
    ] {
        let port = mode.0;
        let fits = usize::from(JUMBO - overhead);
        for (from, length) in [(2, LONG), (3, fits)] {
            let (packet, number) = (segment(six, from, port, length), backend(six, port, TCP));
            let inner = packet.clone().hop();
            rows.push(
                row(format!("{length} bytes, into {port}"), packet)
                    .rfc("RFC 2003 3.1, RFC 2473 3.1")
                    .forwards(Verdict::ForwardAdopted, XDP_TX, number, Vec::new())
                    .like(move |got| encapsulated(mode, number, &inner, &inner.ip(), got)),
            );
        }
        let packet = segment(six, 2, port, fits + 1);
        let told = too_big(&packet.ip(), (JUMBO - overhead).into());
        rows.push(
            row(format!("one byte too long, into {port}"), packet)
                .rfc("RFC 1191 4, RFC 4443 3.2")
                .answers(
                    Verdict::AnswerTooBig,
                    framed(CLIENT_MAC, OWN, &[], &told.ip()),
                ),
        );
    }
    rows
}

/// A server's answers.
fn back(six: bool) -> Vec<Row> {
    let number = backend(six, 90, TCP);
    let (at, to) = (server(six, number, 8_080), vip(six, 90));
    let arriving = |packet: &Packet| framed(OWN, mac_of(number), &[], &packet.ip());
    let answer = |to| Packet::tcp(at, to, "A").payload(&bytes(LONG));
    let [near, far] = [client(six, 4), far_client(six, 4)].map(answer);
    let home = near.clone().from(to).hop();
    let told = too_big(&far.ip(), NARROW.into());
    vec![
        row("an answer", arriving(&near))
            .after([&Packet::tcp(client(six, 4), to, "S")])
            .returns(
                Verdict::ReturnNat,
                XDP_TX,
                number,
                framed(ROUTER_MAC, OWN, &[], &home.ip()),
            ),
        row("an answer that is too long for its way", arriving(&far))
            .after([&Packet::tcp(far_client(six, 4), to, "S")])
            .answers(
                Verdict::AnswerTooBig,
                framed(mac_of(number), OWN, &[], &told.ip()),
            ),
    ]
}

/// Datagrams of three fragments, two of them long.
fn in_fragments(six: bool) -> Vec<Row> {
    use Verdict::{AnswerTooBig, DropTooBig, ForwardFragment, ForwardNew};
    let mut rows = Vec::new();
    let verdict = |place| match place {
        0 => ForwardNew,
        _ => ForwardFragment,
    };
    let length = 2 * PART + 777;
    for (from, port) in [(5, 80), (6, 90)] {
        let (packet, number) = (datagram(six, from, port, length), backend(six, port, UDP));
        let goes = match port {
            80 => packet.clone(),
            _ => packet.clone().to(server(six, number, 8_080)).hop(),
        };
        let parts = packet.fragments(PART);
        for (place, (came, goes)) in parts.iter().zip(goes.fragments(PART)).enumerate() {
            let out = framed(mac_of(number), OWN, &[], &goes);
            rows.push(
                row(format!("fragment {place}, to {port}"), arriving(came))
                    .rfc("RFC 791 3.2, RFC 8200 4.5")
                    .forwards(verdict(place), XDP_TX, number, out),
            );
        }
    }
    for (from, mode) in [(7, (60, false, false, &[][..])), (8, (63, true, true, &[]))] {
        let packet = datagram(six, from, mode.0, length);
        let (inner, number) = (packet.clone().hop(), backend(six, mode.0, UDP));
        for (place, came) in packet.fragments(PART).into_iter().enumerate() {
            let (inner, part) = (inner.clone(), inner.fragments(PART)[place].clone());
            rows.push(
                row(
                    format!("fragment {place}, into {}", mode.0),
                    arriving(&came),
                )
                .rfc("RFC 791 3.2, RFC 8200 4.5")
                .forwards(verdict(place), XDP_TX, number, Vec::new())
                .like(move |got| encapsulated(mode, number, &inner, &part, got)),
            );
        }
    }
    let packet = datagram(six, 9, 83, length);
    let body = packet.body();
    let short = arriving(&packet.part(&body[..64], Some((0, true))));
    let (first, later) = (
        packet.part(&body[..PART], Some((0, true))),
        packet.part(&body[64..64 + PART], Some((8, true))),
    );
    let told = |packet: &[u8]| {
        let told = too_big(packet, NARROW.into());
        framed(CLIENT_MAC, OWN, &[], &told.ip())
    };
    rows.push(
        row("a first fragment that is too long", arriving(&first))
            .rfc("RFC 1191 4, RFC 4443 3.2")
            .answers(AnswerTooBig, told(&first)),
    );
    let second = row("a later one", arriving(&later)).after([&short]);
    rows.push(if six {
        let second = second.rfc("RFC 4443 2.4 (e)");
        second.answers(AnswerTooBig, told(&later))
    } else {
        second.rfc("RFC 1812 4.3.2.7").drops(DropTooBig)
    });
    rows
}

/// The answer has one buffer, whose frame had three.
fn too_long(six: bool) -> Vec<Row> {
    let tags: Tags<'_> = &[(0x88a8, 0x6064), (0x8100, 0xa009)];
    let mut rows = Vec::new();
    for (port, way, length) in [
        (83, NARROW, LONG),
        (93, NARROW, LONG),
        (73, NARROW, LONG),
        (80, JUMBO, usize::from(JUMBO) + 1),
    ] {
        for tags in [&[][..], tags] {
            let packet = segment(six, 10, port, length).ip();
            let told = too_big(&packet, way.into()).ip();
            rows.push(
                row(
                    format!("{length} bytes, to {port}, {} tags", tags.len()),
                    framed(OWN, CLIENT_MAC, tags, &packet),
                )
                .rfc("RFC 1191 4, RFC 1812 4.3.2.3, RFC 4443 3.2")
                .answers(Verdict::AnswerTooBig, framed(CLIENT_MAC, OWN, tags, &told)),
            );
        }
    }
    rows
}

/// Where the frame ends, and where the packet.
fn odd(six: bool) -> Vec<Row> {
    use Verdict::{AnswerEcho, DropMalformed, ForwardNew};
    let (from, to) = (client(six, 11), vip(six, 80));
    let echo = Packet::echo(from.ip(), to.ip()).payload(&bytes(LONG));
    let reply = framed(CLIENT_MAC, OWN, &[], &echo_reply(&echo).ip());
    let mut shortened = arriving(&segment(six, 12, 80, LONG).ip());
    shortened.pop();
    let number = backend(six, 80, TCP);
    let short = Packet::tcp(from, to, "S").ip();
    let padding = bytes(LONG);
    let padded = [&arriving(&short)[..], &padding].concat();
    let out = [&framed(mac_of(number), OWN, &[], &short)[..], &padding].concat();
    vec![
        row("a long echo", echo).answers(AnswerEcho, reply),
        row("the last byte is missing", shortened).drops(DropMalformed),
        row("a short packet, padded", padded)
            .rfc("RFC 894")
            .forwards(ForwardNew, XDP_TX, number, out),
    ]
}
