//! Who has which address.
//!
//! ```text
//!   gen                     lb                      sink
//!   eth0 ────────── front        back ────────── eth0
//!   10.0.0.1     10.0.0.2        10.0.1.1        10.0.1.16 to .19
//!   2001:db8::1  2001:db8::2     2001:db8:0:1::1 2001:db8:0:1::10 to ::13
//! ```
//!
//! In a hairpin there is no `sink`: servers are on `gen`, as 10.0.0.16 to .19 and
//! 2001:db8::10 to ::13. Clients, 2²⁴ of them, are behind `gen`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Where the sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// Behind the forwarder's other interface.
    Through,
    /// Where the generator is.
    Hairpin,
}

/// The ports.
pub const CLIENT_PORT: u16 = 0x4000;
pub const VIP_PORT: u16 = 80;
pub const SERVER_PORT: u16 = 8080;

/// Servers; a power of two, so that one prefix holds them all.
pub const SERVERS: u8 = 4;
/// Addresses that `full-nat` connects from; likewise.
pub const POOL: u8 = 4;

pub type Mac = [u8; 6];
pub const GEN_MAC: Mac = [2, 0, 10, 0, 0, 1];
pub const FRONT_MAC: Mac = [2, 0, 10, 0, 0, 2];
pub const BACK_MAC: Mac = [2, 0, 10, 0, 1, 1];
pub const SINK_MAC: Mac = [2, 0, 10, 0, 1, 16];

/// What the outer packets of tunnels come from.
pub const TUNNELS: &str = "172.16.0.0/16";

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub fn vip(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(203, 0, 113, 10).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0xf, 0, 0, 0, 0x10).into(),
        }
    }

    /// The first client.
    pub fn client(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(100, 64, 0, 0).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0xc, 0, 0, 0, 0).into(),
        }
    }

    /// The network of all clients.
    pub fn clients(self) -> &'static str {
        match self {
            Self::V4 => "100.64.0.0/12",
            Self::V6 => "2001:db8:0:c::/64",
        }
    }

    /// Host `number` between `gen` and `lb` (network 0), or between `lb` and `sink` (1).
    pub fn host(self, network: u8, number: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 0, network, number).into(),
            Self::V6 => {
                let (network, number) = (network.into(), number.into());
                Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, number).into()
            }
        }
    }

    /// The servers.
    pub fn servers(self, wiring: Wiring) -> impl Iterator<Item = IpAddr> {
        let network = wiring.server_network();
        (16..16 + SERVERS).map(move |number| self.host(network, number))
    }

    /// The addresses of the pool, in the servers' network.
    pub fn pool(self, wiring: Wiring) -> impl Iterator<Item = IpAddr> {
        let network = wiring.server_network();
        (200..200 + POOL).map(move |number| self.host(network, number))
    }

    /// The length of a network's prefix.
    pub fn subnet(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }
}

impl Wiring {
    fn server_network(self) -> u8 {
        match self {
            Self::Through => 1,
            Self::Hairpin => 0,
        }
    }

    /// The forwarder's interfaces.
    pub fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::Through => &["front", "back"],
            Self::Hairpin => &["front"],
        }
    }

    /// The MAC address of the interface that servers are at.
    pub fn server_mac(self) -> Mac {
        match self {
            Self::Through => SINK_MAC,
            Self::Hairpin => GEN_MAC,
        }
    }
}

/// The MAC address as `ip` takes it.
pub fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
