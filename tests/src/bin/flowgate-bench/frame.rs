//! The packets that are measured, without the frame check sequence: of IPv4 the least
//! that Ethernet sends (60 bytes), of IPv6 as long as its headers (74).

use std::net::{IpAddr, SocketAddr};

use lb_common::abi::Mac;

use crate::traffic::{Clients, Traffic};

/// A frame.
pub type Frame = Vec<u8>;

/// The load balancer's interface.
pub const NODE_MAC: Mac = [0x02, 0, 0, 0, 0, 0x01];
/// The router that clients are behind.
pub const ROUTER_MAC: Mac = [0x02, 0, 0, 0, 0, 0x02];

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const TTL: u8 = 64;

/// SYN.
pub const SYN: u8 = 0x02;
/// ACK.
pub const ACK: u8 = 0x10;

const IPV4: usize = 20;
const IPV6: usize = 40;
const ETHERNET: usize = 14;
/// A TCP header.
const SEGMENT: usize = 20;
/// The shortest frame.
const LEAST: usize = 60;

/// A TCP segment without data, both ends of one IP version.
pub fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8) -> Frame {
    let (mut frame, l4) = ip(source, destination, TCP);
    frame[l4 + 12] = 5 << 4;
    frame[l4 + 13] = flags;
    frame
}

/// A UDP datagram of the same length.
pub fn udp(source: SocketAddr, destination: SocketAddr) -> Frame {
    let (mut frame, l4) = ip(source, destination, UDP);
    frame[l4 + 4..l4 + 6].copy_from_slice(&(SEGMENT as u16).to_be_bytes());
    frame
}

/// Both headers and the ports, and where those are.
fn ip(source: SocketAddr, destination: SocketAddr, protocol: u8) -> (Frame, usize) {
    let header = if source.is_ipv4() { IPV4 } else { IPV6 };
    let l4 = ETHERNET + header;
    let mut frame = vec![0; (l4 + SEGMENT).max(LEAST)];
    frame[0..6].copy_from_slice(&NODE_MAC);
    frame[6..12].copy_from_slice(&ROUTER_MAC);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
            frame[14] = 0x45;
            frame[16..18].copy_from_slice(&((IPV4 + SEGMENT) as u16).to_be_bytes());
            frame[22] = TTL;
            frame[23] = protocol;
            frame[26..30].copy_from_slice(&source.octets());
            frame[30..34].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame[12..14].copy_from_slice(&0x86ddu16.to_be_bytes());
            frame[14] = 0x60;
            frame[18..20].copy_from_slice(&(SEGMENT as u16).to_be_bytes());
            frame[20] = protocol;
            frame[21] = TTL;
            frame[22..38].copy_from_slice(&source.octets());
            frame[38..54].copy_from_slice(&destination.octets());
        }
        _ => unreachable!("both ends are of one IP version"),
    }
    frame[l4..l4 + 2].copy_from_slice(&source.port().to_be_bytes());
    frame[l4 + 2..l4 + 4].copy_from_slice(&destination.port().to_be_bytes());
    (frame, l4)
}

/// Whom a frame without tags comes from. `None` for one that isn't IP.
pub fn source(frame: &[u8]) -> Option<SocketAddr> {
    let (address, l4): (IpAddr, usize) = match frame.get(12..14)? {
        [0x08, 0x00] => (bytes::<4>(frame, 26).into(), ETHERNET + IPV4),
        [0x86, 0xdd] => (bytes::<16>(frame, 22).into(), ETHERNET + IPV6),
        _ => return None,
    };
    Some((address, u16::from_be_bytes(bytes(frame, l4))).into())
}

/// The record by which the prologue writes such frames, before which the pipeline puts
/// `overhead` bytes.
pub fn traffic(
    frame: &[u8],
    clients: Clients,
    flows: u32,
    to_client: bool,
    overhead: u16,
) -> Traffic {
    let is_six = frame[14] >> 4 == 6;
    let word = |at| u64::from_ne_bytes(bytes(frame, at));
    let (lifetime, addresses, l4) = if is_six {
        let low = u64::from(u32::from_ne_bytes(bytes(frame, 16)));
        let high = u64::from(u16::from_ne_bytes(bytes(frame, 20)));
        let addresses = [22, 30, 38, 46].map(word);
        (low | high << 32, addresses, ETHERNET + IPV6)
    } else {
        (word(16), [word(26), 0, 0, 0], ETHERNET + IPV4)
    };
    Traffic {
        macs: word(0),
        version: word(8),
        lifetime,
        addresses,
        ports: u32::from_ne_bytes(bytes(frame, l4)),
        checksum: u16::from_ne_bytes(bytes(frame, 24)),
        flags: u16::from_ne_bytes(bytes(frame, l4 + 12)),
        clients,
        flows,
        to_client: u32::from(to_client),
        is_six: u32::from(is_six),
        overhead: u32::from(overhead),
        length: frame.len() as u32,
    }
}

fn bytes<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    *frame[at..]
        .first_chunk()
        .expect("the words lie in the frame")
}
