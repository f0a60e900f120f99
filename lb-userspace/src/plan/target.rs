//! What the maps should hold, in the data plane's terms.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use lb_common::{
    abi::{BackendState, Endpoint, Forward, Hop, Route, ipv4},
    hash::FlowKeys,
    wheel::Index,
};

use super::Placed;
use crate::config::model::Protocol;

/// What tells services apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The virtual IP.
    pub vip: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl ServiceKey {
    /// IP protocol number (IANA).
    #[must_use]
    pub fn protocol_number(self) -> u8 {
        match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// The key of a service whose backend has these words in its record.
    #[must_use]
    pub fn from_words(vip: u32, port: u16, protocol: u8) -> Option<Self> {
        let protocol = match protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        Some(ServiceKey {
            vip: Ipv4Addr::from(vip.to_ne_bytes()),
            port: u16::from_be(port),
            protocol,
        })
    }

    pub(super) fn endpoint(self, placed: &Placed, keys: &FlowKeys) -> Endpoint {
        Endpoint::service(
            keys,
            ipv4(self.vip.octets()),
            self.port.to_be(),
            self.protocol_number(),
            placed.index,
            placed.number,
            placed.wheel,
        )
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{protocol} {}:{}", self.vip, self.port)
    }
}

/// What the maps should hold.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// What is balanced.
    pub services: BTreeMap<ServiceKey, TargetService>,
    /// Routes of `nat`'s return path, most specific first.
    pub routes: Vec<Route>,
    /// On-link clients by the word of their address.
    pub neighbours: BTreeMap<u32, Hop>,
}

/// A service as it should be.
#[derive(Debug, Clone)]
pub struct TargetService {
    /// How its wheel is indexed.
    pub index: Index,
    /// How packets reach its backends.
    pub forward: Forward,
    /// Its backends, in the order in which they take turns.
    pub backends: Vec<(SocketAddrV4, TargetBackend)>,
}

/// A backend as it should be.
#[derive(Debug, Clone)]
pub struct TargetBackend {
    /// Its share of new connections.
    pub weight: u16,
    /// Active, draining or down.
    pub state: BackendState,
    /// The way to it; `None` while that is unknown.
    pub hop: Option<Hop>,
}
