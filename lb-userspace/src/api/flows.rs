//! What the API says of flows and of the memory that they take.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::config::model::Protocol;

/// `GET /v1/flows`: the living flows, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCensus {
    /// How finely ages are known, in milliseconds.
    pub tick_ms: u64,
    /// The classes of age: within how many seconds a flow's last packet came. One class
    /// more has no bound.
    pub ages: Vec<u64>,
    /// Slots of the flow table, used or not; `full-nat` has ports instead.
    pub slots: u64,
    /// Flows of all services together, removed ones included.
    pub flows: u64,
    /// The services.
    pub services: Vec<ServiceFlows>,
    /// Flows of services that were removed.
    pub removed: FlowCounts,
}

/// The flows of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFlows {
    /// Its name.
    pub name: String,
    /// What the node remembers of its flows.
    pub remembers: Remembers,
    /// Those of all its backends together.
    #[serde(flatten)]
    pub counts: FlowCounts,
    /// Its backends.
    pub backends: Vec<BackendFlows>,
    /// Flows of backends that were removed.
    pub removed: FlowCounts,
}

/// What the node remembers of a service's flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Remembers {
    /// Every flow, in the flow table.
    Flows,
    /// Every flow, with the source port that it has (`full-nat`).
    Ports,
    /// Flows of places in the wheel that change hands, and only while they do.
    Changes,
    /// Nothing yet: it isn't in the data plane.
    Nothing,
}

/// The flows of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendFlows {
    /// Its name within the service.
    pub name: String,
    /// How many, and which.
    #[serde(flatten)]
    pub counts: FlowCounts,
}

/// Flows by state and age.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FlowCounts {
    /// All of them.
    pub flows: u64,
    /// Those of each class of age by state; states that none is in are left out.
    pub states: BTreeMap<FlowState, Vec<u64>>,
}

impl FlowCounts {
    /// Adds others, of the same classes of age.
    pub fn add(&mut self, other: &FlowCounts) {
        self.flows += other.flows;
        for (&state, ages) in &other.states {
            let sums = self.states.entry(state).or_default();
            sums.resize(sums.len().max(ages.len()), 0);
            sums.iter_mut().zip(ages).for_each(|(sum, n)| *sum += n);
        }
    }
}

/// How far a flow has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowState {
    /// One packet was seen.
    New,
    /// TCP: the client went on after its first packet.
    Established,
    /// TCP: a FIN or RST was seen.
    Closing,
    /// UDP: the client went on after its first datagram.
    Assured,
}

impl FlowState {
    /// Every state beside its name.
    pub const ALL: [(&'static str, Self); 4] = [
        ("new", Self::New),
        ("established", Self::Established),
        ("closing", Self::Closing),
        ("assured", Self::Assured),
    ];

    /// Its name on the screen.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// A connection, as its ends name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its protocol.
    pub protocol: Protocol,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The VIP and the port that the client speaks to.
    pub vip: SocketAddr,
}

/// `GET /v1/flows/{protocol}/{client}/{vip}`: what is known of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowAnswer {
    /// The service that it is for.
    pub service: String,
    /// What the node remembers of the service's flows.
    pub remembers: Remembers,
    /// What it remembers of this one.
    pub flow: Option<FlowView>,
    /// Where the flow's hash leads, of services whose scheduler goes by it.
    pub hash: Option<HashView>,
}

/// A flow that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowView {
    /// The backend that it has; `None` for one that was removed.
    pub backend: Option<String>,
    /// How far it has come.
    pub state: FlowState,
    /// Within how many milliseconds its last packet came.
    pub within_ms: u64,
    /// Whether its timeout has passed, so that a new connection may take its place.
    pub expired: bool,
    /// Of `full-nat`: its address and port towards the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SocketAddr>,
}

/// Where a flow's hash leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashView {
    /// The backend that has the place.
    pub backend: Option<String>,
    /// The backend that had it before, while it moves.
    pub before: Option<String>,
    /// What becomes of its flows.
    pub stage: Stage,
}

/// What becomes of the flows of a place in a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// All go to its backend.
    Stable,
    /// New ones go to its backend, older ones stay with the one before.
    Moving,
    /// All go to its backend but those that are remembered.
    Tracked,
}

/// One of the tables in `GET /v1/status`, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMemory {
    /// What it holds.
    pub table: String,
    /// Memory, in bytes, as the kernel counts it.
    pub bytes: u64,
    /// What its size comes from.
    pub why: String,
}

/// Reads an address with its port, as in `203.0.113.10:80` and `[2001:db8::10]:80`.
///
/// # Errors
///
/// What is wrong with it, and how it is written.
pub fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let is_bare = text.parse::<IpAddr>().is_ok();
        let what = if is_bare {
            "there is no port"
        } else {
            "this is no address with a port"
        };
        format!("{what}: write it as 203.0.113.10:80 or [2001:db8::10]:80")
    })
}
