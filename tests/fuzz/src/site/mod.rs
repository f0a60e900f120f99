//! What the load balancer under test is told, in plain words: the model reads these, and
//! the rig writes them into the maps.

mod standard;

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive};

use crate::bytes::Mac;

pub use standard::standard;

/// The MAC address of the interface that packets come by.
pub const OWN: Mac = [2, 0, 0, 0, 0, 1];
/// The MAC address of the other interface.
pub const OTHER: Mac = [2, 0, 0, 0, 0, 2];
/// The UDP port of GUE tunnels (RFC 9868 has no say; IANA gave it 6080).
pub const GUE_PORT: u16 = 6080;
/// IP protocol numbers.
pub const TCP: u8 = 6;
/// UDP's.
pub const UDP: u8 = 17;

/// Everything that it is told.
#[derive(Debug, Clone)]
pub struct Site {
    /// VIPs, and the addresses of the pool.
    pub vips: Vec<Vip>,
    /// Services.
    pub services: Vec<Service>,
    /// Backends by number; number 0 is never used.
    pub backends: Vec<Option<Backend>>,
    /// Routes to clients, the most specific first.
    pub routes: Vec<Route>,
    /// How clients on the link are reached.
    pub neighbours: HashMap<IpAddr, Hop>,
    /// Source addresses and ports of `full-nat`.
    pub pool: Pool,
}

/// An address that we answer for.
#[derive(Debug, Clone)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// Whether the lease runs.
    pub held: bool,
}

/// A service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its VIP.
    pub vip: IpAddr,
    /// Its ports.
    pub ports: RangeInclusive<u16>,
    /// Its protocol.
    pub protocol: u8,
    /// Whether new flows take turns; else their hash says.
    pub takes_turns: bool,
    /// Whether its flows have source ports of ours.
    pub full_nat: bool,
    /// Which of its flows are remembered.
    pub memory: Memory,
    /// The backends that new flows get.
    pub wheel: Vec<u16>,
}

/// What a service remembers of its flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// All of them.
    All,
    /// None: their hash says.
    Nothing,
    /// Its wheel's places change hands: they all were this backend's before.
    Changes {
        /// Whose what isn't known is.
        before: u16,
    },
    /// What it knows from then.
    Rest,
}

/// Whether a backend takes flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// New ones and those that it has.
    Active,
    /// Those that it has.
    Draining,
    /// None.
    Down,
}

/// How packets reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// By its MAC address alone.
    Dsr,
    /// Destination translated.
    Nat,
    /// Both ends translated.
    FullNat,
    /// Behind an IPv4 header.
    Ip4,
    /// Behind an IPv6 header.
    Ip6,
    /// Behind IPv4 and UDP headers.
    Gue4,
    /// Behind IPv6 and UDP headers.
    Gue6,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 7] = [
        Mode::Dsr,
        Mode::Nat,
        Mode::FullNat,
        Mode::Ip4,
        Mode::Ip6,
        Mode::Gue4,
        Mode::Gue6,
    ];

    /// Bytes of the headers that it adds.
    #[must_use]
    pub fn overhead(self) -> usize {
        match self {
            Mode::Dsr | Mode::Nat | Mode::FullNat => 0,
            Mode::Ip4 => 20,
            Mode::Ip6 => 40,
            Mode::Gue4 => 20 + 8,
            Mode::Gue6 => 40 + 8,
        }
    }

    /// Whether it adds headers.
    #[must_use]
    pub fn is_tunnel(self) -> bool {
        self.overhead() > 0
    }

    /// Whether its outer header is IPv6.
    #[must_use]
    pub fn is_outer6(self) -> bool {
        matches!(self, Mode::Ip6 | Mode::Gue6)
    }

    /// Whether there is a UDP header between the two.
    #[must_use]
    pub fn is_gue(self) -> bool {
        matches!(self, Mode::Gue4 | Mode::Gue6)
    }
}

/// A server in a service.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its number.
    pub number: u16,
    /// Its service's place in the site.
    pub service: usize,
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 when packets keep theirs.
    pub port: u16,
    /// How it is reached.
    pub mode: Mode,
    /// Whether it takes flows.
    pub standing: Standing,
    /// The way to it.
    pub hop: Hop,
    /// What outer headers say.
    pub tunnel: Option<Tunnel>,
    /// Another backend that is the same server; 0 for none.
    pub sharing: u16,
}

/// What outer headers say.
#[derive(Debug, Clone, Copy)]
pub struct Tunnel {
    /// Source address, less the bits that vary.
    pub source: IpAddr,
    /// Ones where its bits vary.
    pub varying: IpAddr,
}

/// The way to a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Whether it is behind the other interface.
    pub other: bool,
    /// The longest IP packet that the way takes.
    pub mtu: u16,
    /// Type and VLAN identifier of each tag, outermost first.
    pub tags: Vec<(u16, u16)>,
    /// The next hop's MAC address.
    pub to: Mac,
}

impl Hop {
    /// Our MAC address on that way.
    #[must_use]
    pub fn from(&self) -> Mac {
        if self.other { OTHER } else { OWN }
    }
}

/// A route to clients.
#[derive(Debug, Clone)]
pub struct Route {
    /// The prefix.
    pub prefix: IpAddr,
    /// Its length in bits.
    pub bits: u8,
    /// The way.
    pub way: Way,
}

/// How a route goes on.
#[derive(Debug, Clone)]
pub enum Way {
    /// By a router.
    Via(Hop),
    /// Destinations are neighbours.
    OnLink,
    /// The kernel knows.
    Kernel,
}

/// Source addresses and ports of `full-nat`.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The first port of each.
    pub first_port: u16,
    /// Their ports, in eights.
    pub buckets: u16,
}

impl Site {
    /// The VIP or pool address.
    #[must_use]
    pub fn vip(&self, address: IpAddr) -> Option<&Vip> {
        self.vips.iter().find(|vip| vip.address == address)
    }

    /// Whether it is an address of the pool.
    #[must_use]
    pub fn is_pool(&self, address: IpAddr) -> bool {
        self.pool.addresses.contains(&address)
    }

    /// The service on a port: one of this port alone, else the first range that has it.
    #[must_use]
    pub fn service(&self, vip: IpAddr, port: u16, protocol: u8) -> Option<usize> {
        let fits = |service: &Service| {
            service.vip == vip && service.protocol == protocol && service.ports.contains(&port)
        };
        let exact = |service: &Service| service.ports == (port..=port);
        let services = &self.services;
        services
            .iter()
            .position(|service| fits(service) && exact(service))
            .or_else(|| services.iter().position(fits))
    }

    /// The backend of that number.
    #[must_use]
    pub fn backend(&self, number: u16) -> Option<&Backend> {
        self.backends.get(usize::from(number))?.as_ref()
    }

    /// The way to a client, where we know it.
    #[must_use]
    pub fn route(&self, client: IpAddr) -> Option<&Hop> {
        let route = self.routes.iter().find(|route| route.has(client))?;
        match &route.way {
            Way::Via(hop) => Some(hop),
            Way::OnLink => self.neighbours.get(&client),
            Way::Kernel => None,
        }
    }

    /// Sets a backend's standing; wheels have those that are active, and only them.
    pub fn set_standing(&mut self, number: u16, standing: Standing) {
        let Some(backend) = &mut self.backends[usize::from(number)] else {
            return;
        };
        backend.standing = standing;
        let service = backend.service;
        let given_up = match self.services[service].memory {
            Memory::Changes { before } => before,
            Memory::All | Memory::Nothing | Memory::Rest => 0,
        };
        let of_service = |backend: &&Backend| backend.service == service;
        self.services[service].wheel = self
            .backends
            .iter()
            .flatten()
            .filter(of_service)
            .filter(|backend| backend.standing == Standing::Active)
            .map(|backend| backend.number)
            .filter(|&number| number != given_up)
            .collect();
    }
}

impl Route {
    fn has(&self, address: IpAddr) -> bool {
        match (self.prefix, address) {
            (IpAddr::V4(prefix), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(address) & mask == u32::from(prefix)
            }
            (IpAddr::V6(prefix), IpAddr::V6(address)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                u128::from(address) & mask == u128::from(prefix)
            }
            _ => false,
        }
    }
}
