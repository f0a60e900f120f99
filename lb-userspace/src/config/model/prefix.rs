//! A prefix of addresses of one family.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An address of one family as a number.
pub trait Address: Copy + Into<IpAddr> {
    /// Bits of an address.
    const BITS: u8;
    /// The address as a number, in the low bits.
    fn number(self) -> u128;
}

impl Address for Ipv4Addr {
    const BITS: u8 = 32;
    fn number(self) -> u128 {
        self.to_bits().into()
    }
}

impl Address for Ipv6Addr {
    const BITS: u8 = 128;
    fn number(self) -> u128 {
        self.to_bits()
    }
}

/// Addresses that begin with the same bits; those after `length` are zero in
/// `network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix<A> {
    /// The first address.
    pub network: A,
    /// Bits that count, at most those of an address.
    pub length: u8,
}

impl<A: Address> Prefix<A> {
    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: A) -> bool {
        let host = u32::from(A::BITS - self.length);
        let of = |address: A| address.number().checked_shr(host);
        of(address) == of(self.network)
    }
}

impl<A: fmt::Display> fmt::Display for Prefix<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.network, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_what_begins_like_it() {
        let prefix = |network: &str, length| Prefix::<Ipv4Addr> {
            network: network.parse().unwrap(),
            length,
        };
        let v4 = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert!(prefix("172.16.0.0", 16).contains(v4("172.16.255.255")));
        assert!(!prefix("172.16.0.0", 16).contains(v4("172.17.0.0")));
        assert!(prefix("10.0.0.1", 32).contains(v4("10.0.0.1")));
        assert!(!prefix("10.0.0.1", 32).contains(v4("10.0.0.0")));
        assert!(prefix("0.0.0.0", 0).contains(v4("255.0.0.1")));
        let all = Prefix {
            network: Ipv6Addr::UNSPECIFIED,
            length: 0,
        };
        assert!(all.contains(Ipv6Addr::LOCALHOST));
    }
}
