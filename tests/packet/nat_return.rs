//! Network address translation, back to the clients.

use lb_common::{
    abi::{BackendState, Mac},
    verdict::Verdict,
};

use crate::{
    frame::{Frame, Socket},
    rig::{XDP_PASS, XDP_REDIRECT, XDP_TX},
    row::{Row, check, row},
    site::{
        CLIENT, CLIENT_MAC, FAR_CLIENT, FAR_ROUTER_MAC, NEIGHBOUR, OTHER, OWN, ROUTER_MAC,
        SERVER_PORT, SHARED_SERVER, SILENT_NEIGHBOUR, UNROUTED, VIP, mac_of, server_of,
    },
};

/// A server's segment to a client, as it comes to us.
fn tcp(backend: u16, to: Socket, flags: &str) -> Frame {
    Frame::tcp(server_of(backend), to, flags).macs(mac_of(backend), OWN)
}

fn udp(backend: u16, to: Socket, payload: &[u8]) -> Frame {
    Frame::udp(server_of(backend), to, payload).macs(mac_of(backend), OWN)
}

/// What opened the flow.
fn syn(client: Socket, port: u16) -> Frame {
    Frame::tcp(client, (VIP, port), "S")
}

fn datagram(client: Socket, port: u16) -> Frame {
    Frame::udp(client, (VIP, port), b"?")
}

/// Translated and one hop on.
fn back(frame: &Frame, port: u16, source: Mac, router: Mac) -> Frame {
    let ttl = frame.ip.time_to_live - 1;
    frame
        .clone()
        .sourced((VIP, port))
        .ttl(ttl)
        .macs(source, router)
}

/// Translated, and otherwise as it came: the kernel sees to the rest.
fn kernel(frame: &Frame, port: u16) -> Frame {
    frame.clone().sourced((VIP, port))
}

pub fn rows() -> Vec<Row> {
    let mut rows = answers();
    rows.extend(next_hops());
    rows.extend(hops());
    rows.extend(shared());
    rows.extend(not_ours());
    rows
}

fn answers() -> Vec<Row> {
    use Verdict::ReturnNat;
    let client = (CLIENT, 1);
    let syn_ack = tcp(11, client, "SA");
    let data = tcp(11, client, "PA").payload(b"HTTP/1.1 200 OK\r\n\r\nodd");
    let last = tcp(11, client, "FA");
    let padded = tcp(11, client, "A").padded();
    let answer = udp(13, client, b"203.0.113.10");
    let odd = udp(13, client, b"odd");
    let unchecked = udp(13, client, b"no checksum").unchecked();
    let near = |frame: &Frame| back(frame, 90, OWN, ROUTER_MAC);
    vec![
        row("a SYN with ACK", syn_ack.clone())
            .rfc("RFC 3022 4.1")
            .after([&syn(client, 90)])
            .returns(ReturnNat, XDP_TX, 11, near(&syn_ack)),
        row("data of odd length", data.clone()).returns(ReturnNat, XDP_TX, 11, near(&data)),
        row("padding stays", padded.clone()).returns(ReturnNat, XDP_TX, 11, near(&padded)),
        row("a FIN", last.clone()).returns(ReturnNat, XDP_TX, 11, near(&last)),
        row("an answer by UDP", answer.clone())
            .after([&datagram(client, 90)])
            .returns(ReturnNat, XDP_TX, 13, near(&answer)),
        row("an answer of odd length", odd.clone()).returns(ReturnNat, XDP_TX, 13, near(&odd)),
        row("an answer without a checksum", unchecked.clone())
            .rfc("RFC 768")
            .returns(ReturnNat, XDP_TX, 13, near(&unchecked)),
        row("a draining server's answer", data.clone())
            .when(|rig| rig.state(11, BackendState::Draining))
            .returns(ReturnNat, XDP_TX, 11, near(&data)),
        row("a failed server's answer", data.clone())
            .when(|rig| rig.state(11, BackendState::Down))
            .returns(ReturnNat, XDP_TX, 11, near(&data)),
        row("an answer after its return", data.clone())
            .when(|rig| rig.state(11, BackendState::Active))
            .returns(ReturnNat, XDP_TX, 11, near(&data)),
    ]
}

fn next_hops() -> Vec<Row> {
    use Verdict::{ReturnKernel, ReturnNat};
    let answer = |client| tcp(11, (client, 2), "SA");
    let (far, near) = (answer(FAR_CLIENT), answer(NEIGHBOUR));
    let (silent, unrouted) = (answer(SILENT_NEIGHBOUR), answer(UNROUTED));
    let padded = udp(13, (UNROUTED, 2), b"odd").padded();
    vec![
        row("a more specific route, another interface", far.clone())
            .rfc("RFC 1812 5.2.4.3")
            .after([&syn((FAR_CLIENT, 2), 90)])
            .returns(
                ReturnNat,
                XDP_REDIRECT,
                11,
                back(&far, 90, OTHER, FAR_ROUTER_MAC),
            ),
        row("a neighbour", near.clone())
            .after([&syn((NEIGHBOUR, 2), 90)])
            .returns(ReturnNat, XDP_TX, 11, back(&near, 90, OWN, CLIENT_MAC)),
        row("a neighbour whose MAC is unknown", silent.clone())
            .after([&syn((SILENT_NEIGHBOUR, 2), 90)])
            .returns(ReturnKernel, XDP_PASS, 11, kernel(&silent, 90)),
        row("no route", unrouted.clone())
            .after([&syn((UNROUTED, 2), 90)])
            .returns(ReturnKernel, XDP_PASS, 11, kernel(&unrouted, 90)),
        row("no route, UDP, padded", padded.clone())
            .after([&datagram((UNROUTED, 2), 90)])
            .returns(ReturnKernel, XDP_PASS, 13, kernel(&padded, 90)),
        row(
            "from a server behind the other interface",
            tcp(12, (CLIENT, 2), "SA"),
        )
        .after([&syn((CLIENT, 2), 91)])
        .returns(
            ReturnNat,
            XDP_TX,
            12,
            back(&tcp(12, (CLIENT, 2), "SA"), 91, OWN, ROUTER_MAC),
        ),
    ]
}

fn hops() -> Vec<Row> {
    use Verdict::{DropTtl, ReturnKernel, ReturnNat};
    let to_client = |ttl| tcp(11, (CLIENT, 3), "A").ttl(ttl);
    let to_kernel = tcp(11, (UNROUTED, 3), "A").ttl(1);
    vec![
        row("a TTL of 0", to_client(0))
            .rfc("RFC 1812 5.3.1")
            .after([&syn((CLIENT, 3), 90)])
            .drops(DropTtl),
        row("a TTL of 1", to_client(1))
            .rfc("RFC 1812 5.3.1")
            .drops(DropTtl),
        row("a TTL of 2", to_client(2))
            .rfc("RFC 1812 5.3.1")
            .returns(
                ReturnNat,
                XDP_TX,
                11,
                back(&to_client(2), 90, OWN, ROUTER_MAC),
            ),
        row("a TTL of 1 that the kernel routes", to_kernel.clone())
            .after([&syn((UNROUTED, 3), 90)])
            .returns(ReturnKernel, XDP_PASS, 11, kernel(&to_kernel, 90)),
    ]
}

/// One server in four services: the flow tells which.
fn shared() -> Vec<Row> {
    [(93, 21), (94, 22), (95, 23), (96, 24)]
        .map(|(port, backend)| {
            let client = (CLIENT, 40 + port);
            let answer = Frame::tcp(SHARED_SERVER, client, "SA").macs(mac_of(backend), OWN);
            let out = back(&answer, port, OWN, ROUTER_MAC);
            row("a shared server's answer", answer)
                .after([&syn(client, port)])
                .returns(Verdict::ReturnNat, XDP_TX, backend, out)
        })
        .into()
}

fn not_ours() -> Vec<Row> {
    use Verdict::{DropClosedPort, PassNotVip};
    let client = (CLIENT, 60);
    vec![
        row("a server's own connection", tcp(11, client, "S")).passes(PassNotVip),
        row("a server's own datagram", udp(13, client, b"ntp")).passes(PassNotVip),
        row("the flow's other protocol", udp(11, client, b"?"))
            .after([&syn(client, 90)])
            .passes(PassNotVip),
        row(
            "another port of a server",
            tcp(11, client, "A").sourced((server_of(11).0, SERVER_PORT + 1)),
        )
        .passes(PassNotVip),
        row("another port of the client", tcp(11, (CLIENT, 61), "A")).passes(PassNotVip),
        row(
            "a dsr server's answer goes by another way",
            tcp(1, (CLIENT, 62), "SA"),
        )
        .after([&syn((CLIENT, 62), 80)])
        .passes(PassNotVip),
        row(
            "a server to a closed port of the VIP",
            tcp(11, (VIP, 12_345), "S"),
        )
        .drops(DropClosedPort),
    ]
}

#[test]
fn back_to_the_clients() {
    check(&rows());
}
