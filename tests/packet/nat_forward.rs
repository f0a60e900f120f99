//! Network address translation, towards the servers.

use lb_common::verdict::Verdict;

use crate::{
    frame::{Frame, Socket},
    rig::{XDP_REDIRECT, XDP_TX},
    row::{Row, check, row},
    site::{self, CLIENT, OTHER, OWN, SHARED_SERVER, VIP, mac_of, server_of},
};

fn tcp(client_port: u16, port: u16, flags: &str) -> Frame {
    Frame::tcp((CLIENT, client_port), (VIP, port), flags)
}

fn udp(client_port: u16, port: u16, payload: &[u8]) -> Frame {
    Frame::udp((CLIENT, client_port), (VIP, port), payload)
}

/// Translated, one hop on, by the interface that it came by.
fn to(frame: &Frame, server: Socket, backend: u16) -> Frame {
    let ttl = frame.ip.time_to_live - 1;
    frame
        .clone()
        .destined(server)
        .ttl(ttl)
        .macs(OWN, mac_of(backend))
}

fn same(frame: &Frame, backend: u16) -> Frame {
    to(frame, server_of(backend), backend)
}

/// Likewise, by the other interface.
fn other(frame: &Frame, backend: u16) -> Frame {
    same(frame, backend).macs(OTHER, mac_of(backend))
}

pub fn rows() -> Vec<Row> {
    let mut rows = segments();
    rows.extend(datagrams());
    rows.extend(hops());
    rows.extend(shared());
    rows
}

fn segments() -> Vec<Row> {
    use Verdict::{ForwardAdopted, ForwardKnown, ForwardNew, ForwardUntracked};
    let syn = tcp(1, 90, "S");
    let data = tcp(1, 90, "PA").payload(b"GET / HTTP/1.1\r\nHost: foobar.com\r\n\r\n");
    let odd = tcp(3, 90, "PA").payload(b"odd");
    let fin = tcp(4, 90, "FA");
    let padded = tcp(5, 90, "S").padded();
    let options = tcp(6, 90, "S").tcp_header(|tcp| {
        tcp.set_options_raw(&[2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 1])
            .expect("short");
    });
    let redirected = tcp(7, 91, "S");
    let full = tcp(8, 90, "PA").payload(&[0xa5; 1_460]);
    let urgent = tcp(9, 90, "A").tcp_header(|tcp| {
        (tcp.urg, tcp.urgent_pointer, tcp.ns, tcp.ece, tcp.cwr) = (true, 9, true, true, true);
    });
    vec![
        row("a SYN", syn.clone()).rfc("RFC 3022 4.1").forwards(
            ForwardNew,
            XDP_TX,
            11,
            same(&syn, 11),
        ),
        row("data of a known flow", data.clone()).forwards(
            ForwardKnown,
            XDP_TX,
            11,
            same(&data, 11),
        ),
        row("data of an unknown flow, odd length", odd.clone())
            .rfc("RFC 1071 2")
            .forwards(ForwardAdopted, XDP_TX, 11, same(&odd, 11)),
        row("a FIN of an unknown flow", fin.clone()).forwards(
            ForwardUntracked,
            XDP_TX,
            11,
            same(&fin, 11),
        ),
        row("padding stays, and is in no checksum", padded.clone())
            .rfc("RFC 894")
            .forwards(ForwardNew, XDP_TX, 11, same(&padded, 11)),
        row("TCP options stay", options.clone()).forwards(
            ForwardNew,
            XDP_TX,
            11,
            same(&options, 11),
        ),
        row("a SYN to another interface", redirected.clone()).forwards(
            ForwardNew,
            XDP_REDIRECT,
            12,
            other(&redirected, 12),
        ),
        row("a full segment", full.clone()).forwards(ForwardAdopted, XDP_TX, 11, same(&full, 11)),
        row("all flags stay", urgent.clone()).forwards(
            ForwardAdopted,
            XDP_TX,
            11,
            same(&urgent, 11),
        ),
    ]
}

fn datagrams() -> Vec<Row> {
    use Verdict::{ForwardKnown, ForwardNew};
    let first = udp(20, 90, b"who is foobar.com?");
    let odd = udp(21, 90, b"odd");
    let empty = udp(22, 90, b"");
    let unchecked = udp(23, 90, b"no checksum").unchecked();
    let padded = udp(24, 90, b"x").padded();
    let redirected = udp(25, 91, b"elsewhere");
    vec![
        row("a first datagram", first.clone())
            .rfc("RFC 3022 4.1")
            .forwards(ForwardNew, XDP_TX, 13, same(&first, 13)),
        row("a second datagram", first.clone()).forwards(
            ForwardKnown,
            XDP_TX,
            13,
            same(&first, 13),
        ),
        row("a datagram of odd length", odd.clone()).forwards(
            ForwardNew,
            XDP_TX,
            13,
            same(&odd, 13),
        ),
        row("an empty datagram", empty.clone()).forwards(ForwardNew, XDP_TX, 13, same(&empty, 13)),
        row("a datagram without a checksum gets none", unchecked.clone())
            .rfc("RFC 768")
            .forwards(ForwardNew, XDP_TX, 13, same(&unchecked, 13)),
        row("padding stays", padded.clone()).forwards(ForwardNew, XDP_TX, 13, same(&padded, 13)),
        row("a datagram to another interface", redirected.clone()).forwards(
            ForwardNew,
            XDP_REDIRECT,
            14,
            other(&redirected, 14),
        ),
    ]
}

fn hops() -> Vec<Row> {
    use Verdict::{DropTtl, ForwardNew};
    let (enough, most) = (tcp(32, 90, "S").ttl(2), tcp(33, 90, "S").ttl(255));
    let broken = |frame: &Frame| {
        let mut bytes = frame.bytes();
        *bytes.last_mut().expect("a payload") ^= 0x81;
        bytes
    };
    let wrong = tcp(34, 90, "S").payload(b"payload");
    vec![
        row("a TTL of 0", tcp(30, 90, "S").ttl(0))
            .rfc("RFC 1812 5.3.1")
            .drops(DropTtl),
        row("a TTL of 1", tcp(31, 90, "S").ttl(1))
            .rfc("RFC 1812 5.3.1")
            .drops(DropTtl),
        row("a TTL of 2", enough.clone())
            .rfc("RFC 1812 5.3.1")
            .forwards(ForwardNew, XDP_TX, 11, same(&enough, 11)),
        row("a TTL of 255", most.clone()).forwards(ForwardNew, XDP_TX, 11, same(&most, 11)),
        row("a wrong checksum is not made right", broken(&wrong))
            .rfc("RFC 1624 3")
            .forwards(ForwardNew, XDP_TX, 11, broken(&same(&wrong, 11))),
    ]
}

/// One server in four services.
fn shared() -> Vec<Row> {
    [(93, 21), (94, 22), (95, 23), (96, 24)]
        .map(|(port, backend)| {
            let syn = tcp(40, port, "S");
            let out = to(&syn, SHARED_SERVER, backend);
            row("a SYN to a shared server", syn).forwards(Verdict::ForwardNew, XDP_TX, backend, out)
        })
        .into()
}

#[test]
fn towards_the_servers() {
    check(&rows());
}

/// Two bytes of payload take the checksum through every value that it can have; 0 and
/// all ones are the ones that implementations get wrong (RFC 768, RFC 1624 section 3).
#[test]
fn every_checksum_is_updated_right() {
    let mut rig = site::rig();
    for (first, port) in [(tcp(50, 90, "PA"), 11), (udp(50, 90, b""), 13)] {
        for value in 0..=u16::MAX {
            let frame = first.clone().payload(&value.to_be_bytes());
            let (_, got) = rig.run(&frame.bytes());
            let expected = same(&frame, port).bytes();
            assert!(
                got == expected,
                "payload {value:#06x}\n{}",
                crate::diff::of(&expected, &got)
            );
        }
    }
}

/// Identification takes the header's checksum through every value.
#[test]
fn every_header_checksum_is_updated_right() {
    let mut rig = site::rig();
    for value in 0..=u16::MAX {
        let frame = udp(51, 90, b"").ip(|ip| ip.identification = value);
        let (_, got) = rig.run(&frame.bytes());
        let expected = same(&frame, 13).bytes();
        assert!(
            got == expected,
            "identification {value:#06x}\n{}",
            crate::diff::of(&expected, &got)
        );
    }
}
