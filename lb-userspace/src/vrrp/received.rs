//! A packet as a raw socket gave it.

use std::net::{IpAddr, Ipv4Addr};

use super::{PacketError, checksum::PROTOCOL};

/// A VRRP message and what the IP header around it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it: the sender's primary address.
    pub source: IpAddr,
    /// The VRRP group, or our own address from a unicast peer.
    pub destination: IpAddr,
    /// Time to live or hop limit, as it arrived.
    pub hop_limit: u8,
    /// The message, without the IP header and what follows the packet in its frame.
    pub message: &'a [u8],
}

impl<'a> Received<'a> {
    /// Takes the IPv4 header off `packet`, which a raw IPv4 socket hands over with
    /// it, and cuts the message at the IP total length. (IPv6 sockets hand over the
    /// message alone, and tell the rest beside it.)
    ///
    /// # Errors
    /// [`PacketError::IpHeader`] if it is no whole IPv4 packet of VRRP.
    pub fn from_ipv4(packet: &'a [u8]) -> Result<Self, PacketError> {
        Self::parse(packet).ok_or(PacketError::IpHeader)
    }

    fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = packet.first_chunk::<20>()?;
        let header_length = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        // The "more fragments" flag and the offset.
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
        let whole = header[0] >> 4 == 4 && header_length >= 20 && fragment == 0;
        if !whole || header[9] != PROTOCOL {
            return None;
        }
        let address =
            |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        Some(Self {
            source: address(12).into(),
            destination: address(16).into(),
            hop_limit: header[8],
            message: packet.get(header_length..total)?,
        })
    }
}
