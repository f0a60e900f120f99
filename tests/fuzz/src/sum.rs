//! The Internet checksum by its definition (RFC 1071 section 1), a word at a time.

use std::net::IpAddr;

use crate::bytes::octets;

/// One's complement addition.
#[must_use]
pub fn add(a: u16, b: u16) -> u16 {
    let (sum, carried) = a.overflowing_add(b);
    if carried { sum + 1 } else { sum }
}

/// The one's complement sum of all words; an odd last byte is followed by a zero.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |total, pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        add(total, u16::from_be_bytes([pair[0], low]))
    })
}

/// The sum of a pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[must_use]
pub fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u16 {
    let addresses = add(sum(&octets(source)), sum(&octets(destination)));
    let length = sum(&(length as u32).to_be_bytes());
    add(add(addresses, length), u16::from(protocol))
}

/// The checksum that follows `checksum` when `before` becomes `after`
/// (RFC 1624 equation 3: `HC' = ~(~HC + ~m + m')`), whether or not it was right.
#[must_use]
pub fn update(checksum: u16, before: &[u8], after: &[u8]) -> u16 {
    let mut total = !checksum;
    for (old, new) in before.chunks(2).zip(after.chunks(2)) {
        if old != new {
            total = add(add(total, !sum(old)), sum(new));
        }
    }
    !total
}

/// [`update`] for UDP: 0 means that there is none, and is sent as all ones (RFC 768).
#[must_use]
pub fn update_udp(checksum: u16, before: &[u8], after: &[u8]) -> u16 {
    match checksum {
        0 => 0,
        _ => nonzero(update(checksum, before, after)),
    }
}

/// All ones for 0: the same number in one's complement.
#[must_use]
pub fn nonzero(checksum: u16) -> u16 {
    match checksum {
        0 => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_rfcs() {
        // RFC 1071 section 3.
        let words = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&words), 0xddf2);
        // RFC 1624 section 4.
        assert_eq!(update(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0);
        assert_eq!(update_udp(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0xffff);
        assert_eq!(update_udp(0, &[0x55, 0x55], &[0x32, 0x85]), 0);
    }
}
