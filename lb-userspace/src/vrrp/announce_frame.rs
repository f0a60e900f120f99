//! The frames that tell a link where an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{fold, words};

/// Ethernet's header, and IPv6's with an advertisement of 32 bytes.
const LONGEST: usize = 14 + 40 + 32;
const BROADCAST: [u8; 6] = [0xff; 6];
/// 33:33:00:00:00:01, of all nodes (RFC 2464 section 7).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;
/// Of an advertisement with its option.
const ADVERTISED: usize = 32;

/// A frame from `mac`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Frame {
    /// The one that says that `address` is at `mac`.
    pub fn new(address: IpAddr, mac: [u8; 6]) -> Self {
        let frame = Self {
            bytes: [0; LONGEST],
            length: 0,
        };
        match address {
            IpAddr::V4(address) => frame.gratuitous_arp(address, mac),
            IpAddr::V6(address) => frame.neighbour_advertisement(address, mac),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// An ARP announcement: a broadcast request for the address from itself (RFC 5227
    /// sections 1.1 and 3), which every host takes.
    fn gratuitous_arp(self, address: Ipv4Addr, mac: [u8; 6]) -> Self {
        self.then(&BROADCAST)
            .then(&mac)
            .then(&[0x08, 0x06])
            // Ethernet and IPv4, addresses of 6 and 4 bytes, a request.
            .then(&[0, 1, 0x08, 0x00, 6, 4, 0, 1])
            .then(&mac)
            .then(&address.octets())
            .then(&[0; 6])
            .then(&address.octets())
    }

    /// An unsolicited neighbour advertisement (RFC 4861 section 7.2.6) with the flags that
    /// the data plane answers with, but that nobody asked: to override, from no router. From the
    /// address itself, which is what the link is to know.
    fn neighbour_advertisement(self, address: Ipv6Addr, mac: [u8; 6]) -> Self {
        let head = self
            .then(&ALL_NODES_MAC)
            .then(&mac)
            .then(&[0x86, 0xdd])
            .then(&[0x60, 0, 0, 0, 0, ADVERTISED as u8, ICMPV6, 255])
            .then(&address.octets())
            .then(&ALL_NODES.octets());
        let message = head.length;
        let mut whole = head
            .then(&[136, 0, 0, 0])
            .then(&[0x20, 0, 0, 0])
            .then(&address.octets())
            // Option 2, 8 bytes: the target's link-layer address.
            .then(&[2, 1])
            .then(&mac);
        let pseudo = words(&address.octets()) + words(&ALL_NODES.octets());
        let lengths = ADVERTISED as u64 + u64::from(ICMPV6);
        let sum = !fold(pseudo + lengths + words(&whole.bytes()[message..]));
        whole.bytes[message + 2..message + 4].copy_from_slice(&sum.to_be_bytes());
        whole
    }

    fn then(mut self, bytes: &[u8]) -> Self {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
        self
    }
}
