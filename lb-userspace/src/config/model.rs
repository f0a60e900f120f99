//! What a validated configuration says. A value of these types keeps every rule
//! that can be checked without looking at the machine.

mod forward;
mod group;
mod ports;
mod prefix;
mod timeouts;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::{
    forward::{Encapsulation, Forward},
    group::{Group, Replication, Track, Tracked},
    ports::{NotPorts, Ports},
    prefix::{Address, Prefix},
    timeouts::{Clock, Timeouts},
};
pub use crate::scheduler::Scheduler;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What concerns this machine.
    pub node: Node,
    /// How long flows are remembered.
    pub timeouts: Timeouts,
    /// Where tunnelled packets come from.
    pub tunnel: Tunnel,
    /// What `full-nat` services connect from; `None` when there is no pool.
    pub full_nat: Option<Pool>,
    /// What moves together; none on a node without peers. Where there are any, each VIP
    /// is in one of them.
    pub groups: Vec<Group>,
    /// Where flows go to; `None` where nowhere. Then there is one group.
    pub replication: Option<Replication>,
    /// What is balanced; names are unique. Of the services of one VIP and
    /// protocol no two have the same port, and no two ranges overlap.
    pub services: Vec<Service>,
}

/// `[node]`: what concerns this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Interfaces that the XDP program is attached to: those where clients'
    /// packets arrive and those behind which the backends are. At least one,
    /// each once.
    pub interfaces: Vec<String>,
    /// Concurrent flows to have room for.
    pub max_flows: u32,
}

/// `[tunnel]`: where tunnelled packets come from. The outer source varies by flow
/// within a prefix; without one it is the node's own address, which only GUE can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tunnel {
    /// Outer sources towards IPv4 backends.
    pub ipv4: Option<Prefix<Ipv4Addr>>,
    /// Outer sources towards IPv6 backends.
    pub ipv6: Option<Prefix<Ipv6Addr>>,
}

/// `[full_nat]`: what `full-nat` services connect from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// 1 to [`super::limits::MAX_POOL`] addresses, each once; none is a VIP or a
    /// backend's.
    pub addresses: Vec<IpAddr>,
    /// The ports of each address, 8 at least, none of them 0.
    pub ports: RangeInclusive<u16>,
}

/// `[[service]]`: a VIP, ports and a protocol, and the servers behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in the CLI, the API and the logs.
    pub name: String,
    /// The virtual IP that clients connect to.
    pub vip: IpAddr,
    /// The ports that clients connect to.
    pub port: Ports,
    /// The transport protocol.
    pub protocol: Protocol,
    /// How new connections are spread.
    pub scheduler: Scheduler,
    /// How many bits of its clients' addresses [`Scheduler::Source`] looks at; `None` for
    /// whole addresses.
    pub source_prefix: Option<u8>,
    /// How packets reach a backend.
    pub forward: Forward,
    /// How a backend's health is checked; `None` takes every backend for healthy.
    pub health: Option<HealthCheck>,
    /// The servers; names are unique, and so are (address, port) pairs.
    pub backends: Vec<Backend>,
}

/// `[[service.backend]]`: one server of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its name within the service.
    pub name: String,
    /// Its own address: of the VIP's family, except in a tunnel.
    pub address: IpAddr,
    /// Its port. In the modes `nat` and `full-nat` it may differ from the service's,
    /// else it is the service's. 0 where the service has a range or any port: then
    /// it is the packet's own.
    pub port: u16,
    /// Its share of new connections beside the others', 1–256.
    pub weight: u16,
    /// Whether it takes new connections only while no other of the service does.
    pub backup: bool,
    /// Whether an operator lets it take new connections.
    pub admin: AdminState,
}

/// What an operator wants of a backend (its health is another matter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// It takes new connections while it is healthy.
    #[default]
    Enabled,
    /// It keeps its connections and gets no new ones.
    #[serde(rename = "drain")]
    Draining,
}

/// A transport protocol that can be balanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

/// `health = { … }`: how a backend's health is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// The port that is asked; `None` is the backend's own, which then isn't 0.
    pub port: Option<u16>,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// A check without an answer by then has failed; at most `interval`.
    pub timeout: Duration,
    /// Successes in a row that make a failed backend healthy, at least 1.
    pub rise: u32,
    /// Failures in a row that make a healthy backend failed, at least 1.
    pub fall: u32,
    /// Each interval is lengthened or shortened by up to this many per cent at
    /// random, 0–50, so that checks of many backends don't march in step.
    pub jitter: u8,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// A TCP connection is accepted.
    Tcp,
    /// `GET path` over HTTP/1.1 is answered with an expected status.
    Http {
        /// The path with its query, beginning with `/`.
        path: String,
        /// The `Host` header; `None` is the VIP.
        host: Option<String>,
        /// Statuses that count as healthy, both ends included.
        expect: (u16, u16),
    },
}

impl AdminState {
    /// Every state beside its name in the configuration.
    pub const ALL: [(&'static str, Self); 2] =
        [("enabled", Self::Enabled), ("drain", Self::Draining)];
}

impl Protocol {
    /// Every protocol beside its name.
    pub const ALL: [(&'static str, Self); 2] = [("tcp", Self::Tcp), ("udp", Self::Udp)];

    /// Its name in the configuration and on the screen.
    pub fn name(self) -> &'static str {
        name_in(&Self::ALL, self)
    }
}

impl Tunnel {
    /// Whether outer sources towards a backend of this address's family are given.
    #[must_use]
    pub fn covers(&self, backend: IpAddr) -> bool {
        match backend {
            IpAddr::V4(_) => self.ipv4.is_some(),
            IpAddr::V6(_) => self.ipv6.is_some(),
        }
    }
}

fn name_in<T: PartialEq>(all: &[(&'static str, T)], value: T) -> &'static str {
    all.iter()
        .find_map(|(name, candidate)| (*candidate == value).then_some(*name))
        .unwrap_or("unknown")
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
