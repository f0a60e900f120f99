//! Addresses as the maps hold them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::abi::{Address, Family, ipv4, ipv6};

/// An address's family and its words in the maps.
#[must_use]
pub fn words(address: IpAddr) -> (Family, Address) {
    match address {
        IpAddr::V4(v4) => (Family::V4, ipv4(v4.octets())),
        IpAddr::V6(v6) => (Family::V6, ipv6(v6.octets())),
    }
}

/// The address that has these words.
#[must_use]
pub fn ip(family: Family, words: Address) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(words[0].to_ne_bytes()).into(),
        Family::V6 => {
            let mut octets = [0; 16];
            for (bytes, word) in octets.chunks_exact_mut(4).zip(words) {
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            Ipv6Addr::from(octets).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_comes_back(address: IpAddr) {
            let (family, words) = words(address);
            prop_assert_eq!(ip(family, words), address);
        }
    }
}
