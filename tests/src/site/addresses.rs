//! Who has which address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A network of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The clients' one, behind the router.
    Clients,
    /// Between the router and the load balancer.
    Front,
    /// Behind the load balancer.
    Back,
}

impl Network {
    /// The name of its switch, and of the interfaces that lead there.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Front => "front",
            Self::Back => "back",
        }
    }

    /// Its VLAN on a trunk.
    pub fn vlan(self) -> Option<u16> {
        match self {
            Self::Clients => None,
            Self::Front => Some(100),
            Self::Back => Some(200),
        }
    }

    /// Tells its addresses from the other networks'.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Front => 0,
            Self::Back => 1,
            Self::Clients => 12,
        }
    }
}

impl Family {
    /// The virtual IP.
    pub fn vip(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(203, 0, 113, 10).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0xf, 0, 0, 0, 0x10).into(),
        }
    }

    /// The host of that number in a network. In IPv6 the number's decimal digits are
    /// read as hexadecimal ones, so that it looks the same.
    pub fn host(self, network: Network, number: u8) -> IpAddr {
        match (self, network) {
            (Self::V4, Network::Clients) => Ipv4Addr::new(198, 51, 100, number).into(),
            (Self::V4, _) => Ipv4Addr::new(10, 0, network.number(), number).into(),
            (Self::V6, _) => {
                let digits = |n: u8| u16::from(n / 10 * 16 + n % 10);
                let network = u16::from(network.number());
                Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, digits(number)).into()
            }
        }
    }

    /// The prefix that the outer packets of tunnels come from.
    pub fn tunnels(self) -> &'static str {
        match self {
            Self::V4 => "172.16.0.0/16",
            Self::V6 => "2001:db8:0:ff::/64",
        }
    }

    /// The length of an address.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The length of a network's prefix.
    pub fn subnet(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    /// The parameter that makes a host a router.
    pub fn forwarding(self) -> &'static str {
        match self {
            Self::V4 => "net.ipv4.ip_forward",
            Self::V6 => "net.ipv6.conf.all.forwarding",
        }
    }
}
