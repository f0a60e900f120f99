//! Packets from their parts. Lengths follow from the rest; checksums are repaired later.

use std::net::IpAddr;

use crate::{
    bytes::{octets, put_address, put_word},
    site::TCP,
};

/// An IP header.
#[derive(Debug, Clone)]
pub struct Header {
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// TOS, or traffic class.
    pub class: u8,
    /// Identification.
    pub id: u32,
    /// Offset in eights, and whether more fragments follow.
    pub piece: Option<(u16, bool)>,
    /// IPv4: options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6: number and bytes of each extension header before a fragment header; the
    /// first two bytes of each are filled in.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// The upper layer's protocol.
    pub protocol: u8,
}

impl Header {
    /// A plain one.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Header {
            source,
            destination,
            ttl: 64,
            class: 0,
            id: 0,
            piece: None,
            options: Vec::new(),
            extensions: Vec::new(),
            protocol,
        }
    }

    /// The packet, and its EtherType.
    #[must_use]
    pub fn with(&self, upper: &[u8]) -> (Vec<u8>, u16) {
        if self.source.is_ipv4() {
            (self.ipv4(upper), 0x0800)
        } else {
            (self.ipv6(upper), 0x86dd)
        }
    }

    fn ipv4(&self, upper: &[u8]) -> Vec<u8> {
        let length = 20 + self.options.len();
        let mut packet = vec![0; 20];
        packet[0] = 0x40 | (length / 4) as u8;
        packet[1] = self.class;
        put_word(&mut packet, 2, (length + upper.len()) as u16);
        put_word(&mut packet, 4, self.id as u16);
        let (offset, more) = self.piece.unwrap_or((0, false));
        let dont = if self.piece.is_none() { 0x4000 } else { 0 };
        put_word(
            &mut packet,
            6,
            dont | u16::from(more) << 13 | offset & 0x1fff,
        );
        packet[8] = self.ttl;
        packet[9] = self.protocol;
        put_address(&mut packet, 12, self.source);
        put_address(&mut packet, 16, self.destination);
        packet.extend(&self.options);
        packet.extend(upper);
        packet
    }

    fn ipv6(&self, upper: &[u8]) -> Vec<u8> {
        let mut headers = self.extensions.clone();
        if let Some((offset, more)) = self.piece {
            let mut header = vec![0; 8];
            put_word(&mut header, 2, offset << 3 | u16::from(more));
            header[4..].copy_from_slice(&self.id.to_be_bytes());
            headers.push((44, header));
        }
        let mut payload = Vec::new();
        for place in 0..headers.len() {
            let (number, mut header) = headers[place].clone();
            header[0] = headers.get(place + 1).map_or(self.protocol, |next| next.0);
            if number != 44 {
                header[1] = (header.len() / 8 - 1) as u8;
            }
            payload.extend(header);
        }
        payload.extend(upper);
        let first = 6 << 28 | u32::from(self.class) << 20 | self.id & 0xf_ffff;
        let mut packet = first.to_be_bytes().to_vec();
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.push(headers.first().map_or(self.protocol, |first| first.0));
        packet.push(self.ttl);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.extend(payload);
        packet
    }
}

/// A TCP segment, or a UDP datagram with a checksum that is to be repaired.
#[must_use]
pub fn segment(protocol: u8, ports: (u16, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20 + payload.len());
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    if protocol == TCP {
        bytes.extend([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0]);
        bytes.extend([0x50, flags, 0xfa, 0xf0, 0xab, 0xcd, 0, 0]);
    } else {
        bytes.extend((8 + payload.len() as u16).to_be_bytes());
        bytes.extend([0xab, 0xcd]);
    }
    bytes.extend(payload);
    bytes
}
