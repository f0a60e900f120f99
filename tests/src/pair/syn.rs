//! Whether a service accepts new connections: one is asked for every millisecond.
//!
//! Each probe is one SYN from a port of its own, sent once. The answer's acknowledgement
//! number tells which probe it is to; the prober's kernel, which knows of no connection,
//! resets it at once.

use std::{
    io::Read,
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    bed::{Bed, Path},
    clock::Clock,
    probe::{PATIENCE, Probing},
};

/// The ports that probes come from.
const PORTS: std::ops::Range<u32> = 1024..65_024;
/// A TCP header without options, in bytes.
const HEADER: usize = 20;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Begins to ask by that path.
pub fn start(bed: &Bed, path: Path, clock: Clock) -> Result<Probing> {
    let socket = bed.prober.run(|| open(path));
    let socket = Arc::new(socket.context("a socket for probes")?);
    let out = Arc::clone(&socket);
    let send = move |number| {
        // What isn't sent isn't answered.
        let _ = out.send(&segment(path, number));
    };
    let receive = move || {
        let mut buffer = [0; 128];
        let length = (&*socket).read(&mut buffer).ok()?;
        accepted(&buffer[..length])
    };
    Ok(Probing::start(clock, send, receive))
}

fn open(path: Path) -> std::io::Result<Socket> {
    let kind = Type::from(libc::SOCK_RAW);
    let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::TCP))?;
    socket.bind(&SocketAddrV4::new(path.from, 0).into())?;
    // Only what that server says.
    socket.connect(&SocketAddr::from(path.to).into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A SYN whose sequence number is the probe's number (RFC 9293, section 3.1).
fn segment(path: Path, number: u32) -> [u8; HEADER] {
    let port = PORTS.start + number % (PORTS.end - PORTS.start);
    let mut segment = [0; HEADER];
    segment[..2].copy_from_slice(&(port as u16).to_be_bytes());
    segment[2..4].copy_from_slice(&path.to.port().to_be_bytes());
    segment[4..8].copy_from_slice(&number.to_be_bytes());
    segment[12] = (HEADER as u8 / 4) << 4;
    segment[13] = SYN;
    segment[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    let checksum = checksum(path, &segment);
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

/// The checksum over the pseudo-header and a segment whose own checksum is zero.
fn checksum(path: Path, segment: &[u8; HEADER]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        let pairs = bytes.chunks_exact(2);
        pairs
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum()
    };
    let addresses = words(&path.from.octets()) + words(&path.to.ip().octets());
    let mut sum = addresses + 6 + HEADER as u32 + words(segment);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// The number of the probe that this packet, from its IP header on, accepts.
fn accepted(packet: &[u8]) -> Option<u32> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let segment = packet.get(header..header + HEADER)?;
    if segment[13] & 0x3f != SYN | ACK {
        return None;
    }
    let acknowledged = u32::from_be_bytes(segment[8..12].try_into().ok()?);
    Some(acknowledged.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::bed::SERVICE;

    fn answer(number: u32, flags: u8) -> Vec<u8> {
        let mut packet = vec![0; 20 + HEADER];
        packet[0] = 0x45;
        packet[28..32].copy_from_slice(&(number + 1).to_be_bytes());
        packet[33] = flags;
        packet
    }

    #[test]
    fn an_answer_tells_its_probe() {
        assert_eq!(accepted(&answer(7, SYN | ACK)), Some(7));
        assert_eq!(accepted(&answer(7, 0x14)), None, "a reset");
        assert_eq!(accepted(&answer(7, ACK)), None);
        assert_eq!(accepted(&answer(7, SYN | ACK)[..39]), None);
        assert_eq!(accepted(&[]), None);
    }

    #[test]
    fn a_probe_sums_up() {
        let mut segment = segment(SERVICE, 123_456);
        let sent = u16::from_be_bytes([segment[16], segment[17]]);
        segment[16..18].fill(0);
        assert_eq!(checksum(SERVICE, &segment), sent);
        let pseudo_and_all: u32 = [SERVICE.from.octets(), SERVICE.to.ip().octets()]
            .concat()
            .chunks(2)
            .chain(segment.chunks(2))
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .sum::<u32>()
            + 26
            + u32::from(sent);
        assert_eq!(pseudo_and_all % 0xffff, 0);
    }
}
