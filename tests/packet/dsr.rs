//! Direct server return: only the MAC addresses change.

use lb_common::{abi::BackendState, verdict::Verdict};

use crate::{
    frame::Frame,
    rig::{XDP_ABORTED, XDP_REDIRECT, XDP_TX},
    row::{Row, check, row},
    site::{CLIENT, OTHER, OWN, TCP, VIP, mac_of},
};

fn tcp(client_port: u16, port: u16, flags: &str) -> Frame {
    Frame::tcp((CLIENT, client_port), (VIP, port), flags)
}

fn udp(client_port: u16, port: u16, payload: &[u8]) -> Frame {
    Frame::udp((CLIENT, client_port), (VIP, port), payload)
}

/// As it leaves by the interface that it came by.
fn same(frame: &Frame, backend: u16) -> Frame {
    frame.clone().macs(OWN, mac_of(backend))
}

/// As it leaves by the other interface.
fn other(frame: &Frame, backend: u16) -> Frame {
    frame.clone().macs(OTHER, mac_of(backend))
}

pub fn rows() -> Vec<Row> {
    let mut rows = segments();
    rows.extend(datagrams());
    rows.extend(headers());
    rows
}

fn segments() -> Vec<Row> {
    use Verdict::{ForwardAdopted, ForwardKnown, ForwardMoved, ForwardNew, ForwardUntracked};
    let syn = tcp(1, 80, "S");
    let ack = tcp(2, 80, "A");
    let data = tcp(3, 80, "PA").payload(b"GET / HTTP/1.1\r\nHost: foobar.com\r\n\r\n");
    let odd = tcp(4, 80, "PA").payload(b"odd");
    let (fin, rst, syn_ack) = (tcp(5, 80, "FA"), tcp(6, 80, "R"), tcp(7, 80, "SA"));
    let (redirected, later) = (tcp(8, 81, "S"), tcp(8, 81, "A"));
    let gone = tcp(9, 82, "S");
    let moved = tcp(10, 84, "PA").payload(b"more");
    vec![
        row("a SYN", syn.clone()).rfc("RFC 9293 3.5").forwards(
            ForwardNew,
            XDP_TX,
            1,
            same(&syn, 1),
        ),
        row("the ACK of a known SYN", ack.clone())
            .after([&tcp(2, 80, "S")])
            .forwards(ForwardKnown, XDP_TX, 1, same(&ack, 1)),
        row("data", data.clone())
            .after([&tcp(3, 80, "S"), &tcp(3, 80, "A")])
            .forwards(ForwardKnown, XDP_TX, 1, same(&data, 1)),
        row("data of an unknown flow, odd length", odd.clone()).forwards(
            ForwardAdopted,
            XDP_TX,
            1,
            same(&odd, 1),
        ),
        row("a FIN of an unknown flow", fin.clone()).forwards(
            ForwardUntracked,
            XDP_TX,
            1,
            same(&fin, 1),
        ),
        row("an RST of an unknown flow", rst.clone()).forwards(
            ForwardUntracked,
            XDP_TX,
            1,
            same(&rst, 1),
        ),
        row("a SYN with ACK opens nothing", syn_ack.clone()).forwards(
            ForwardAdopted,
            XDP_TX,
            1,
            same(&syn_ack, 1),
        ),
        row("a SYN to another interface", redirected.clone()).forwards(
            ForwardNew,
            XDP_REDIRECT,
            2,
            other(&redirected, 2),
        ),
        row("a known flow to another interface", later.clone()).forwards(
            ForwardKnown,
            XDP_REDIRECT,
            2,
            other(&later, 2),
        ),
        row("an interface that has gone", gone.clone()).forwards(
            ForwardNew,
            XDP_ABORTED,
            3,
            other(&gone, 3),
        ),
        row("a flow whose backend has failed", moved.clone())
            .after([&tcp(10, 84, "S"), &tcp(10, 84, "A")])
            .when(|rig| {
                rig.state(6, BackendState::Down);
                rig.wheel(84, TCP, &[7]);
            })
            .forwards(ForwardMoved, XDP_TX, 7, same(&moved, 7)),
        row("a flow that was moved stays", moved.clone()).forwards(
            ForwardKnown,
            XDP_TX,
            7,
            same(&moved, 7),
        ),
    ]
}

fn datagrams() -> Vec<Row> {
    use Verdict::{ForwardKnown, ForwardNew};
    let first = udp(20, 80, b"who is foobar.com?");
    let odd = udp(21, 80, b"odd");
    let empty = udp(22, 80, b"");
    let unchecked = udp(23, 80, b"no checksum").unchecked();
    let padded = udp(24, 80, b"x").padded();
    let redirected = udp(25, 81, b"elsewhere");
    vec![
        row("a first datagram", first.clone()).forwards(ForwardNew, XDP_TX, 4, same(&first, 4)),
        row("a second datagram", first.clone()).forwards(ForwardKnown, XDP_TX, 4, same(&first, 4)),
        row("a datagram of odd length", odd.clone()).forwards(ForwardNew, XDP_TX, 4, same(&odd, 4)),
        row("an empty datagram", empty.clone()).forwards(ForwardNew, XDP_TX, 4, same(&empty, 4)),
        row("a datagram without a checksum", unchecked.clone())
            .rfc("RFC 768")
            .forwards(ForwardNew, XDP_TX, 4, same(&unchecked, 4)),
        row("a padded datagram keeps its padding", padded.clone())
            .rfc("RFC 894")
            .forwards(ForwardNew, XDP_TX, 4, same(&padded, 4)),
        row("a datagram to another interface", redirected.clone()).forwards(
            ForwardNew,
            XDP_REDIRECT,
            5,
            other(&redirected, 5),
        ),
    ]
}

/// Nothing of the IP header is changed or looked at more than need be.
fn headers() -> Vec<Row> {
    use Verdict::ForwardNew;
    let last_hop = tcp(30, 80, "S").ttl(1);
    let no_ttl = tcp(31, 80, "S").ttl(0);
    let marked = tcp(32, 80, "S").ip(|ip| {
        ip.dscp = 46.try_into().expect("six bits");
        ip.ecn = etherparse::IpEcn::TWO;
        ip.dont_fragment = false;
    });
    let options = tcp(33, 80, "S").tcp_header(|tcp| {
        tcp.set_options_raw(&[2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 1])
            .expect("short");
    });
    let mut wrong = tcp(34, 80, "S").bytes();
    wrong[24] ^= 0x40;
    wrong[50] ^= 0x01;
    let mut wrong_out = wrong.clone();
    wrong_out[..6].copy_from_slice(&mac_of(1));
    wrong_out[6..12].copy_from_slice(&OWN);
    vec![
        row(
            "a TTL of 1 is the backend's to see: no hop is counted",
            last_hop.clone(),
        )
        .forwards(ForwardNew, XDP_TX, 1, same(&last_hop, 1)),
        row("a TTL of 0 likewise", no_ttl.clone()).forwards(
            ForwardNew,
            XDP_TX,
            1,
            same(&no_ttl, 1),
        ),
        row("DSCP and ECN stay", marked.clone())
            .rfc("RFC 3168 5")
            .forwards(ForwardNew, XDP_TX, 1, same(&marked, 1)),
        row("TCP options stay", options.clone()).forwards(ForwardNew, XDP_TX, 1, same(&options, 1)),
        row("wrong checksums are the backend's to find", wrong)
            .forwards(ForwardNew, XDP_TX, 1, wrong_out),
    ]
}

#[test]
fn direct_server_return() {
    check(&rows());
}
