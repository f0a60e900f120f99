//! ICMP errors about flows: to backends, to clients, and out of tunnels.

mod forwarded;
mod full_nat;
mod refused;
mod tunnels;

use std::net::{IpAddr, SocketAddr};

pub use self::tunnels::relayed;
use crate::{
    modes::{VERSIONS, stranger},
    packet::{Packet, Transport},
    row::{Row, check},
    site::{TCP, UDP},
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
            rows.extend(forwarded::to_backends(six, protocol));
            rows.extend(forwarded::to_clients(six, protocol));
        }
        rows.extend(forwarded::kinds(six));
        rows.extend(refused::about_nothing(six));
        rows.extend(refused::refused(six));
    }
    rows
}

#[test]
fn errors_about_flows() {
    check(&rows());
}
