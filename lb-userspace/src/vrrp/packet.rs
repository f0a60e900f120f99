//! The VRRP message on the wire (RFC 3768 section 5, RFC 9568 section 5).
//!
//! ```text
//!      0               1               2               3
//!     +---------------+---------------+---------------+---------------+
//!   0 | version, type | VRID          | priority      | address count |
//!     +---------------+---------------+---------------+---------------+
//!   4 | v2: auth type | v2: interval  | checksum                      |
//!     | v3: reserved (4 bits), interval (12 bits)     |               |
//!     +---------------+---------------+---------------+---------------+
//!   8 | addresses; v2: then 8 bytes of authentication data, unused    |
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Interval, PacketError, Received,
    checksum::{Convention, checksum},
};

/// Bytes before the addresses.
const HEADER: usize = 8;
/// Bytes of authentication data behind the addresses in version 2, zero when unused
/// (RFC 3768 section 5.3.10).
const AUTHENTICATION: usize = 8;
/// The one type of message: ADVERTISEMENT.
const ADVERTISEMENT: u8 = 1;
/// The hop limit that an advertisement arrives with unless a router forwarded it
/// (RFC 3768 section 5.2.3, RFC 9568 sections 5.1.1.3 and 5.1.2.3).
pub const HOP_LIMIT: u8 = 255;
/// The longest message: 255 IPv6 addresses.
pub const MAX_MESSAGE: usize = HEADER + 255 * 16;

/// The version of VRRP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// RFC 3768: IPv4, intervals in seconds.
    V2,
    /// RFC 9568 (before: RFC 5798): IPv4 and IPv6, intervals in centiseconds.
    V3,
}

impl Version {
    /// As in the header.
    pub fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// An advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The virtual router, 1 to 255.
    pub vrid: u8,
    /// 255: owner of the addresses; 0: the sender stops being active.
    pub priority: u8,
    /// How often the sender advertises, and the version of VRRP.
    pub interval: Interval,
    /// The virtual addresses, 1 to 255, all of the sender's IP version.
    pub addresses: Vec<IpAddr>,
}

/// What an advertisement has to be to concern a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The group's version.
    pub version: Version,
    /// The group's virtual router.
    pub vrid: u8,
    /// How version 3 over IPv4 is summed up.
    pub convention: Convention,
}

/// A [`Packet`] that can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The count is a byte and isn't 0.
    #[error("an advertisement carries 1 to 255 virtual addresses, not {0}; split the group")]
    Count(usize),
    /// A group is of one IP version.
    #[error(
        "{address} is not of the IP version of {source_address}; make a group for each IP version"
    )]
    Family {
        /// The first that doesn't fit.
        address: IpAddr,
        /// Where the advertisement comes from, or would go to.
        source_address: IpAddr,
    },
    /// Version 2 has IPv4 only.
    #[error("VRRP version 2 has no IPv6; use version 3")]
    Version2Ipv6,
}

/// The virtual router that a message is of, for finding its group; unchecked.
pub fn peek_vrid(message: &[u8]) -> Option<u8> {
    message.get(1).copied()
}

impl Packet {
    /// Reads an advertisement: all checks of RFC 3768 section 7.1 and RFC 9568
    /// section 7.1 that need no more than the packet. Whether interval (version 2)
    /// and addresses are as configured is for [`Machine`](super::Machine) to judge.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(received: &Received<'_>, expected: &Expected) -> Result<Self, PacketError> {
        if received.hop_limit != HOP_LIMIT {
            return Err(PacketError::HopLimit(received.hop_limit));
        }
        let message = received.message;
        let header = message.first_chunk::<HEADER>().ok_or(PacketError::Length {
            length: message.len(),
            expected: HEADER,
        })?;
        let &[version_type, vrid, priority, count, fifth, sixth, ..] = header;
        if version_type >> 4 != expected.version.number() {
            return Err(PacketError::Version {
                version: version_type >> 4,
                expected: expected.version.number(),
            });
        }
        if version_type & 0x0f != ADVERTISEMENT {
            return Err(PacketError::Type(version_type & 0x0f));
        }
        let length = length(expected.version, received.source, usize::from(count));
        if message.len() != length {
            return Err(PacketError::Length {
                length: message.len(),
                expected: length,
            });
        }
        check_sum(received, expected)?;
        if vrid != expected.vrid {
            return Err(PacketError::Vrid(vrid));
        }
        // RFC 9568 section 5.2.5.
        if count == 0 {
            return Err(PacketError::NoAddress);
        }
        let interval = match expected.version {
            // RFC 3768 section 5.3.6: only "no authentication" is left.
            Version::V2 if fifth != 0 => return Err(PacketError::Authentication(fifth)),
            Version::V2 => Interval::from_seconds(sixth),
            // RFC 9568 section 5.2.6: the reserved bits are ignored.
            Version::V3 => {
                Interval::from_centiseconds(Version::V3, u16::from_be_bytes([fifth & 0x0f, sixth]))
            }
        };
        Ok(Self {
            vrid,
            priority,
            interval: interval.ok_or(PacketError::Interval)?,
            addresses: addresses(&message[HEADER..], received.source, count),
        })
    }

    /// Writes the advertisement into `buffer`, as `source` sends it to `destination`,
    /// and gives back the part that it takes. Both count in the checksum.
    ///
    /// # Errors
    /// Too many addresses or none, or addresses of the wrong IP version.
    pub fn encode<'b>(
        &self,
        source: IpAddr,
        destination: IpAddr,
        convention: Convention,
        buffer: &'b mut [u8; MAX_MESSAGE],
    ) -> Result<&'b [u8], EncodeError> {
        let version = self.interval.version();
        if version == Version::V2 && source.is_ipv6() {
            return Err(EncodeError::Version2Ipv6);
        }
        let strange = |address: &&IpAddr| address.is_ipv4() != source.is_ipv4();
        if let Some(&address) = self.addresses.iter().chain([&destination]).find(strange) {
            return Err(EncodeError::Family {
                address,
                source_address: source,
            });
        }
        let count = match u8::try_from(self.addresses.len()) {
            Ok(count) if count > 0 => count,
            _ => return Err(EncodeError::Count(self.addresses.len())),
        };
        let centiseconds = self.interval.centiseconds();
        let [fifth, sixth] = match version {
            // An interval of version 2 is at most 255 s.
            Version::V2 => [0, (centiseconds / 100) as u8],
            Version::V3 => centiseconds.to_be_bytes(),
        };
        let first = version.number() << 4 | ADVERTISEMENT;
        let message = &mut buffer[..length(version, source, self.addresses.len())];
        message.fill(0);
        message[..HEADER].copy_from_slice(&[
            first,
            self.vrid,
            self.priority,
            count,
            fifth,
            sixth,
            0,
            0,
        ]);
        write_addresses(&self.addresses, &mut message[HEADER..]);
        let sum = checksum(version, convention, source, destination, message);
        message[6..8].copy_from_slice(&sum.to_be_bytes());
        Ok(message)
    }
}

/// How long a message with `count` addresses is.
fn length(version: Version, source: IpAddr, count: usize) -> usize {
    match (version, source) {
        (Version::V2, _) => HEADER + count * 4 + AUTHENTICATION,
        (Version::V3, IpAddr::V4(_)) => HEADER + count * 4,
        (Version::V3, IpAddr::V6(_)) => HEADER + count * 16,
    }
}

/// The checksum by the expected convention. A peer that uses the other one is named,
/// since that is a difference of configuration, not a broken packet.
fn check_sum(received: &Received<'_>, expected: &Expected) -> Result<(), PacketError> {
    let rest = |convention| {
        checksum(
            expected.version,
            convention,
            received.source,
            received.destination,
            received.message,
        )
    };
    if rest(expected.convention) == 0 {
        Ok(())
    } else if rest(expected.convention.other()) == 0 {
        Err(PacketError::Convention(expected.convention))
    } else {
        Err(PacketError::Checksum)
    }
}

/// The addresses that `bytes` begin with.
fn addresses(bytes: &[u8], source: IpAddr, count: u8) -> Vec<IpAddr> {
    let count = usize::from(count);
    match source {
        IpAddr::V4(_) => {
            let all = bytes.as_chunks::<4>().0.iter().take(count);
            all.map(|&address| Ipv4Addr::from(address).into()).collect()
        }
        IpAddr::V6(_) => {
            let all = bytes.as_chunks::<16>().0.iter().take(count);
            all.map(|&address| Ipv6Addr::from(address).into()).collect()
        }
    }
}

fn write_addresses(addresses: &[IpAddr], mut to: &mut [u8]) {
    for address in addresses {
        let mut put = |bytes: &[u8]| {
            let (place, rest) = std::mem::take(&mut to).split_at_mut(bytes.len());
            place.copy_from_slice(bytes);
            to = rest;
        };
        match address {
            IpAddr::V4(address) => put(&address.octets()),
            IpAddr::V6(address) => put(&address.octets()),
        }
    }
}
