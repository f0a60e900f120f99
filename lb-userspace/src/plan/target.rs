//! What the maps should hold, in the data plane's terms.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    abi::{
        Address, BackendState, Endpoint, Family, Forward, Hop, Keeping, Range, Route, Route6,
        Tunnel,
    },
    hash::FlowKeys,
    wheel::Index,
};

use super::{Placed, address};
use crate::config::model::Protocol;

/// What tells services apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The virtual IP.
    pub vip: IpAddr,
    /// Its port; of a range the first one, 0 for any port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl ServiceKey {
    /// IP protocol number (IANA).
    #[must_use]
    pub fn protocol_number(self) -> u8 {
        protocol_number(self.protocol)
    }

    /// The key of a service whose backend has these words in its record.
    #[must_use]
    pub fn from_words(family: Family, vip: Address, port: u16, protocol: u8) -> Option<Self> {
        let protocol = match protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        Some(ServiceKey {
            vip: address::ip(family, vip),
            port: u16::from_be(port),
            protocol,
        })
    }

    pub(super) fn endpoint(self, placed: &Placed, keys: &FlowKeys) -> Endpoint {
        let (family, vip) = address::words(self.vip);
        let endpoint = Endpoint::service(
            keys,
            family,
            vip,
            self.port.to_be(),
            self.protocol_number(),
            placed.keeping,
            placed.index,
            placed.number,
            placed.wheel,
        );
        endpoint.with_prefix(placed.prefix)
    }
}

/// IP protocol number (IANA).
pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.protocol,
            SocketAddr::new(self.vip, self.port)
        )
    }
}

/// What the maps should hold.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// What is balanced.
    pub services: BTreeMap<ServiceKey, TargetService>,
    /// The addresses of the `full-nat` pool, each at its place.
    pub pool: Vec<IpAddr>,
    /// Addresses that move with a group, by its number: VIPs, addresses of the pool, and
    /// gateways, which are neither. Others are held always.
    pub groups: BTreeMap<IpAddr, u32>,
    /// Routes of `nat`'s return path for IPv4 clients, most specific first.
    pub routes: Vec<Route>,
    /// Those for IPv6 clients.
    pub routes6: Vec<Route6>,
    /// On-link clients.
    pub neighbours: BTreeMap<IpAddr, Hop>,
}

/// A service as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetService {
    /// How its wheel is indexed.
    pub index: Index,
    /// How many bits of its clients' addresses [`Index::Source`] looks at.
    pub prefix: u8,
    /// Its ports, where it has more than the one of its key.
    pub range: Option<Range>,
    /// Where its flows are kept: [`Keeping::Ports`] where its backends are `full-nat`.
    pub keeping: Keeping,
    /// Its backends, in the order in which they take turns. A port of 0 leaves a
    /// packet's own.
    pub backends: Vec<(SocketAddr, TargetBackend)>,
}

/// A backend as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetBackend {
    /// How packets reach it.
    pub forward: Forward,
    /// Its share of new connections.
    pub weight: u16,
    /// Whether it takes new connections only while no other does.
    pub backup: bool,
    /// Active, draining or down.
    pub state: BackendState,
    /// The way to it.
    pub way: Way,
}

/// The way to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The next hop, and what the outer headers say in a tunnel. Its MTU isn't 0.
    Known(Hop, Tunnel),
    /// Not known now: the one that was known before goes on to be used. Without one the
    /// backend is down.
    Unknown,
    /// There is none that can be used: the backend is down.
    Barred,
}
