//! The packets that are measured: 64 bytes on the wire, without the frame check
//! sequence 60.

use lb_common::abi::Mac;

use crate::traffic::{Clients, Traffic};

/// A frame of the least length.
pub type Frame = [u8; 60];

/// The load balancer's interface.
pub const NODE_MAC: Mac = [0x02, 0, 0, 0, 0, 0x01];
/// The router that clients are behind.
pub const ROUTER_MAC: Mac = [0x02, 0, 0, 0, 0, 0x02];
/// The first of the clients.
pub const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 0], 0x8000);

const TCP: u8 = 6;
const UDP: u8 = 17;
const TTL: u8 = 64;

/// SYN.
pub const SYN: u8 = 0x02;
/// ACK.
pub const ACK: u8 = 0x10;

/// Address and port.
pub type Socket = ([u8; 4], u16);

/// A TCP segment without data.
pub fn tcp(source: Socket, destination: Socket, flags: u8) -> Frame {
    let mut frame = ipv4(source, destination, TCP, 40);
    frame[46] = 5 << 4;
    frame[47] = flags;
    frame
}

/// A UDP datagram that fills the frame.
pub fn udp(source: Socket, destination: Socket) -> Frame {
    let mut frame = ipv4(source, destination, UDP, 46);
    frame[38..40].copy_from_slice(&26u16.to_be_bytes());
    frame
}

fn ipv4(source: Socket, destination: Socket, protocol: u8, length: u16) -> Frame {
    let mut frame = [0; 60];
    frame[0..6].copy_from_slice(&NODE_MAC);
    frame[6..12].copy_from_slice(&ROUTER_MAC);
    frame[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&length.to_be_bytes());
    frame[22] = TTL;
    frame[23] = protocol;
    frame[26..30].copy_from_slice(&source.0);
    frame[30..34].copy_from_slice(&destination.0);
    frame[34..36].copy_from_slice(&source.1.to_be_bytes());
    frame[36..38].copy_from_slice(&destination.1.to_be_bytes());
    frame
}

/// The record by which the prologue writes such frames.
pub fn traffic(frame: &Frame, clients: Clients, flows: u32, to_client: bool) -> Traffic {
    Traffic {
        macs: u64::from_ne_bytes(bytes(frame, 0)),
        version: u64::from_ne_bytes(bytes(frame, 8)),
        lifetime: u64::from_ne_bytes(bytes(frame, 16)),
        addresses: u64::from_ne_bytes(bytes(frame, 26)),
        ports: u32::from_ne_bytes(bytes(frame, 34)),
        checksum: u16::from_ne_bytes(bytes(frame, 24)),
        flags: u16::from_ne_bytes(bytes(frame, 46)),
        clients,
        flows,
        to_client: u64::from(to_client),
    }
}

fn bytes<const N: usize>(frame: &Frame, at: usize) -> [u8; N] {
    *frame[at..]
        .first_chunk()
        .expect("the words lie in the frame")
}
