//! Numbers and addresses in packets. Everything is in network byte order.

use std::net::IpAddr;

/// A MAC address.
pub type Mac = [u8; 6];

/// The 16-bit word at an offset.
///
/// # Panics
///
/// When it isn't there, like everything here.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The 32-bit word at an offset.
#[must_use]
pub fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes a 16-bit word.
pub fn put_word(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The MAC address at an offset.
#[must_use]
pub fn mac(bytes: &[u8], at: usize) -> Mac {
    let mut mac = [0; 6];
    mac.copy_from_slice(&bytes[at..at + 6]);
    mac
}

/// The IPv4 address at an offset.
#[must_use]
pub fn address4(bytes: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 4];
    octets.copy_from_slice(&bytes[at..at + 4]);
    IpAddr::from(octets)
}

/// The IPv6 address at an offset.
#[must_use]
pub fn address6(bytes: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    IpAddr::from(octets)
}

/// An address's bytes.
#[must_use]
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Writes an address.
pub fn put_address(bytes: &mut [u8], at: usize, address: IpAddr) {
    let octets = octets(address);
    bytes[at..at + octets.len()].copy_from_slice(&octets);
}

/// A frame: its tags are each a type and control information.
#[must_use]
pub fn framed(to: Mac, from: Mac, tags: &[(u16, u16)], ether_type: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(22 + body.len());
    frame.extend(to);
    frame.extend(from);
    for (kind, control) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(control.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(body);
    frame
}
