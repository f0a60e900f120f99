//! What the API says: the bodies of its requests and answers.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::config::{
    model::{AdminState, Forward, Ports, Protocol, Scheduler},
    refusal::Refusal,
};
pub use crate::desired::Applied as ChangeReply;

/// `GET /v1/status`: the daemon and everything it balances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// When the daemon started, in seconds since 1970 (UTC).
    pub started: u64,
    /// Where it balances.
    pub interfaces: Vec<InterfaceView>,
    /// The pool of `full-nat` by address family; empty when there is none.
    pub full_nat: Vec<PoolView>,
    /// What it balances.
    pub services: Vec<ServiceView>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Its name.
    pub name: String,
    /// How the XDP program is attached; `None` while it isn't.
    pub mode: Option<XdpMode>,
    /// Its link state.
    pub state: LinkState,
    /// The largest IP packet that it carries, in bytes; `None` while it is gone.
    pub mtu: Option<u32>,
    /// Why it forwards nothing, or less than it could, and the way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// The link state of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It is switched on, and somebody is at the other end.
    Up,
    /// It is switched on, and nobody is at the other end.
    NoCarrier,
    /// It is switched off.
    Down,
    /// The machine has no such interface.
    Gone,
}

/// The part of the pool of `full-nat` that is of one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// The address family.
    pub family: Family,
    /// Its addresses.
    pub addresses: u32,
    /// The ports of all of them together.
    pub ports: u64,
    /// How many of these ports live flows have.
    pub used: u64,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// How an XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the driver, by the program that takes frames in several buffers, as large MTUs
    /// need it.
    NativeMultiBuffer,
    /// In the kernel's network stack: slower, for drivers without XDP.
    Generic,
}

/// `GET /v1/services`, each: a service and its backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// The virtual IP that clients connect to.
    pub vip: IpAddr,
    /// The ports that clients connect to: a number, 0 for any, or `"5000-5999"`.
    pub port: Ports,
    /// The transport protocol.
    pub protocol: Protocol,
    /// How new connections are spread.
    pub scheduler: Scheduler,
    /// How many bits of its clients' addresses the scheduler looks at, where it isn't
    /// whole addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_prefix: Option<u8>,
    /// How packets reach a backend: `forward`, and of a tunnel `encapsulation` and
    /// `gue_port`, as in the configuration.
    #[serde(flatten)]
    pub forward: Forward,
    /// Its servers.
    pub backends: Vec<BackendView>,
    /// What it has balanced.
    pub counters: Counters,
}

/// One backend of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendView {
    /// Its name within the service.
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// Its port; 0 when it is the packet's own.
    pub port: u16,
    /// Its share of new connections beside the others', 1–256.
    pub weight: u16,
    /// Whether it takes new connections only while no other does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
    /// What an operator wants of it.
    pub admin: AdminView,
    /// What its checks say.
    pub health: HealthView,
    /// How its packets leave.
    pub link: LinkView,
    /// What the data plane was told.
    pub state: DataState,
    /// What it was sent.
    pub counters: Counters,
}

/// What an operator wants of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminView {
    /// It takes new connections while it is healthy.
    Enabled,
    /// It keeps its connections and gets no new ones.
    Draining,
}

impl From<AdminState> for AdminView {
    fn from(state: AdminState) -> Self {
        match state {
            AdminState::Enabled => Self::Enabled,
            AdminState::Draining => Self::Draining,
        }
    }
}

/// What the checks of a backend say, why, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// The verdict.
    pub state: HealthState,
    /// Why it is so, such as the last check's failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when, in seconds since 1970 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// The verdict of a backend's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// The service has no health check.
    Unchecked,
    /// No verdict yet.
    Checking,
    /// It answers as it should.
    Healthy,
    /// It doesn't.
    Failed,
}

/// How packets leave for a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum LinkView {
    /// The next hop is known.
    Resolved {
        /// Its MAC address, as `02:00:00:00:00:01`.
        mac: String,
        /// The interface that leads there.
        interface: String,
        /// The largest packet of a client that the way carries, in bytes from its IP
        /// header on; of a tunnel without the outer headers. `None` while unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path_mtu: Option<u32>,
        /// What is wrong with the way although packets are sent, such as a path too
        /// narrow for the clients' packets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// It isn't, so nothing can be sent.
    Unresolved {
        /// Why.
        reason: String,
    },
}

/// What the data plane was told of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataState {
    /// It takes new connections.
    Active,
    /// A backup that could, while others do: it keeps its connections.
    Standby,
    /// It keeps its connections and gets no new ones.
    Draining,
    /// Its connections are scheduled again.
    Down,
}

/// What was counted since the maps were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Packets towards the backends.
    pub packets: u64,
    /// Bytes of these packets, from the Ethernet header on.
    pub bytes: u64,
    /// Packets back to the clients; only `nat` sees those.
    pub packets_out: u64,
    /// Bytes of these packets, from the Ethernet header on.
    pub bytes_out: u64,
    /// New connections.
    pub connections: u64,
}

/// `GET /v1/stats`: the counters alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Packets by what became of them.
    pub verdicts: BTreeMap<String, u64>,
    /// What each service has balanced.
    pub services: Vec<ServiceStats>,
}

/// The counters of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// Its name.
    pub name: String,
    /// Its counters.
    pub counters: Counters,
    /// Those of its backends.
    pub backends: Vec<BackendStats>,
}

/// The counters of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStats {
    /// Its name within the service.
    pub name: String,
    /// Its counters.
    pub counters: Counters,
}

/// `POST /v1/services/{service}/backends`: a new backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackend {
    /// Its name within the service.
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// Its port; the service's when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// Its share of new connections beside the others', 1–256; 1 when it is
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether it takes new connections only while no other does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
}

/// `PATCH /v1/services/{service}/backends/{backend}`: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendPatch {
    /// What an operator wants of it: `enabled` or `drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AdminState>,
    /// Its share of new connections, 1–256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// `POST /v1/reload`: what reading the configuration again did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReply {
    /// Whether anything is different now.
    pub changed: bool,
    /// What is so now, in one line.
    pub message: String,
    /// Runtime changes that no longer fit and were dropped.
    pub warnings: Vec<String>,
}

/// The body of every answer that isn't a success; nothing was changed then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}

impl From<&Refusal> for ApiError {
    fn from(refusal: &Refusal) -> Self {
        Self {
            error: refusal.message.clone(),
            hint: refusal.help.clone(),
        }
    }
}
