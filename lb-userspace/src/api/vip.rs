//! What the API says of groups of VIPs and of replication.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

/// `GET /v1/vip`: the groups, and where their flows go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipStatus {
    /// The groups; none on a node that holds its VIPs always.
    pub groups: Vec<GroupView>,
    /// Replication, if it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<ReplicationView>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// What this node is to it.
    pub state: GroupState,
    /// Since when, in seconds since 1970 (UTC).
    pub since: u64,
    /// Why.
    pub reason: String,
    /// Where its advertisements leave.
    pub interface: String,
    /// The virtual router's number.
    pub vrid: u8,
    /// How often the active node advertises, in milliseconds.
    pub interval_ms: u64,
    /// This node's priority, after what is tracked.
    pub priority: u8,
    /// The configured one.
    pub configured_priority: u8,
    /// What isn't well of what is tracked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracked: Vec<String>,
    /// The active node that this one hears, and its priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveView>,
    /// Its addresses: VIPs, those of the pool, and gateways.
    pub addresses: Vec<IpAddr>,
    /// How often the state has changed.
    pub transitions: u64,
    /// The last of them, newest first.
    pub last_transitions: Vec<TransitionView>,
    /// Advertisements sent.
    pub sent: u64,
    /// Advertisements received that were in order.
    pub received: u64,
    /// Packets that weren't, by reason; those that have happened.
    pub discarded: BTreeMap<String, u64>,
    /// Gratuitous ARP requests and unsolicited neighbour advertisements sent.
    pub announced: u64,
    /// By how much an advertisement was late at most, in microseconds.
    pub lateness_us: u64,
    /// Whether the thread that advertises has real-time priority.
    pub realtime: bool,
    /// Peers that are configured otherwise, and how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clashes: Vec<ClashView>,
}

/// What a node is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupState {
    /// It takes no part yet, or no more.
    Stopped,
    /// It listens, and takes over when the active node is silent.
    Standby,
    /// It holds the addresses.
    Active,
    /// It can't serve.
    Fault,
}

/// The active node, as a standby hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveView {
    /// Where its advertisements come from.
    pub address: IpAddr,
    /// Its priority.
    pub priority: u8,
}

/// The state has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionView {
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// To what.
    pub state: GroupState,
    /// Why.
    pub reason: String,
}

/// A peer that is configured otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClashView {
    /// When it was last seen, in seconds since 1970 (UTC).
    pub at: u64,
    /// The peer.
    pub peer: IpAddr,
    /// What differs, and the way out.
    pub clash: String,
}

/// Replication of flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationView {
    /// What this node does.
    pub role: ReplicationRole,
    /// The other node.
    pub peer: SocketAddr,
    /// Since when there is a session, in seconds since 1970 (UTC); `None` if there is none.
    pub connected: Option<u64>,
    /// Whether the standby has everything but the latest changes.
    pub in_sync: bool,
    /// How old what the standby has is, in milliseconds, if that is known.
    pub lag_ms: Option<u64>,
    /// Entries told to the peer.
    pub flows_sent: u64,
    /// Entries taken over from the peer.
    pub flows_written: u64,
    /// Datagrams and bytes sent.
    pub sent: TrafficView,
    /// Datagrams and bytes received.
    pub received: TrafficView,
    /// What was received and not taken, by reason; what has happened.
    pub discarded: BTreeMap<String, u64>,
    /// Why the peer was last refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedView>,
    /// What the kernel last said against sending or receiving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<RefusedView>,
}

/// What a node does in replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicationRole {
    /// Nothing.
    Off,
    /// It tells its flows.
    Active,
    /// Its flow table follows.
    Standby,
}

/// Datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficView {
    /// How many.
    pub datagrams: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
}

/// Why, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedView {
    /// When, in seconds since 1970 (UTC).
    pub at: u64,
    /// The reason, and the way out.
    pub reason: String,
}

/// `POST /v1/vip/failover`: hand over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailoverAsk {
    /// The group; all that this node is active in when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What has begun: `GET /v1/vip` tells how it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverReply {
    /// The groups that are being handed over; at least one.
    pub groups: Vec<String>,
}
