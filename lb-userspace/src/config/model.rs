//! What a validated configuration says. A value of these types keeps every rule
//! that can be checked without looking at the machine.

use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What concerns this machine.
    pub node: Node,
    /// What is balanced; names and (VIP, port, protocol) are unique.
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

/// `[[service]]`: a VIP, port and protocol, and the servers behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in the CLI, the API and the logs.
    pub name: String,
    /// The virtual IP that clients connect to.
    pub vip: IpAddr,
    /// The port that clients connect to, 1–65535.
    pub port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
    /// How new connections are spread.
    pub scheduler: Scheduler,
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
    /// Its own address.
    pub address: IpAddr,
    /// Its port: in `nat` mode it may differ from the service's, else it is the service's.
    pub port: u16,
    /// Its share of new connections beside the others', 1–256.
    pub weight: u16,
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

/// How new connections are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// Each backend in turn; weights are ignored (and refused unless all are 1).
    RoundRobin,
    /// Each backend in turn, in proportion to its weight, smoothly interleaved.
    WeightedRoundRobin,
}

/// How packets reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// Direct server return: only the destination MAC is rewritten.
    Dsr,
    /// Destination address and port are rewritten, and back on the return path.
    Nat,
}

/// `health = { … }`: how a backend's health is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// The port that is asked; `None` is the backend's own.
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

impl Scheduler {
    /// Every scheduler beside its name.
    pub const ALL: [(&'static str, Self); 2] = [
        ("round-robin", Self::RoundRobin),
        ("weighted-round-robin", Self::WeightedRoundRobin),
    ];

    /// Its name in the configuration and on the screen.
    pub fn name(self) -> &'static str {
        name_in(&Self::ALL, self)
    }
}

impl Forward {
    /// Every forwarding mode beside its name.
    pub const ALL: [(&'static str, Self); 2] = [("dsr", Self::Dsr), ("nat", Self::Nat)];

    /// Its name in the configuration and on the screen.
    pub fn name(self) -> &'static str {
        name_in(&Self::ALL, self)
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

impl fmt::Display for Scheduler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
