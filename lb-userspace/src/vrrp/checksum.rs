//! What a VRRP checksum covers.

use std::net::IpAddr;

use super::Version;

/// VRRP's protocol number.
pub const PROTOCOL: u8 = 112;

/// What the checksum of version 3 over IPv4 covers. RFC 5798 could be read both ways,
/// and implementations were. RFC 9568 section 5.2.8 settles on the message alone; keepalived
/// counts the pseudo-header unless told otherwise, and so is the default here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Convention {
    /// The message and the pseudo-header of addresses, protocol and length.
    #[default]
    PseudoHeader,
    /// The message alone, as in version 2 and by RFC 9568.
    AsV2,
}

impl Convention {
    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::PseudoHeader => Self::AsV2,
            Self::AsV2 => Self::PseudoHeader,
        }
    }
}

/// The checksum over `message`, between `source` and `destination`: what belongs in
/// its checksum field if that is 0, and 0 if the field is right.
pub(super) fn checksum(
    version: Version,
    convention: Convention,
    source: IpAddr,
    destination: IpAddr,
    message: &[u8],
) -> u16 {
    let pseudo = match (version, source) {
        // RFC 3768 section 5.3.8: the message alone.
        (Version::V2, _) => 0,
        // RFC 9568 section 5.2.8 and RFC 8200 section 8.1: no choice in IPv6.
        (Version::V3, IpAddr::V4(_)) if convention == Convention::AsV2 => 0,
        (Version::V3, _) => {
            // A message is at most 4,088 bytes long.
            let length = message.len() as u64;
            address(source) + address(destination) + u64::from(PROTOCOL) + length
        }
    };
    !fold(pseudo + words(message))
}

fn address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    }
}

/// The sum of the 16-bit words; an odd last byte is a word's first (RFC 1071).
pub(super) fn words(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let sum: u64 = pairs
        .iter()
        .map(|&pair| u64::from(u16::from_be_bytes(pair)))
        .sum();
    sum + odd.first().map_or(0, |&byte| u64::from(byte) << 8)
}

pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
