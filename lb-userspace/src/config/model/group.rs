//! Groups of VIPs that move together, and replication.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU8,
    path::PathBuf,
    time::Duration,
};

use super::Config;
use crate::vrrp::Interval;

/// `[[vrrp]]`: addresses that move together between this node and its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name in the CLI, the API and the logs.
    pub name: String,
    /// The interface that advertisements leave by.
    pub interface: String,
    /// The virtual router's number, 1 to 255.
    pub vrid: NonZeroU8,
    /// How often the active node advertises, and the version of VRRP.
    pub interval: Interval,
    /// 255: owner of the addresses.
    pub priority: NonZeroU8,
    /// Where advertisements come from; `None` for the interface's first address of the
    /// group's IP version.
    pub address: Option<IpAddr>,
    /// The other nodes, where advertisements are sent to each; none for multicast.
    pub peers: Vec<IpAddr>,
    /// Whether it takes over from an active node of lower priority.
    pub preempt: bool,
    /// How long it leaves such a node active.
    pub preempt_delay: Duration,
    /// Whether checksums of version 3 over IPv4 leave the pseudo-header out.
    pub checksum_as_v2: bool,
    /// Its VIPs and addresses of the pool; at least one.
    pub vips: Vec<IpAddr>,
    /// Other addresses that this node answers for while it is active.
    pub gateways: Vec<IpAddr>,
    /// Those of its VIPs that advertisements list, all of one IP version; at least one.
    pub advertise: Vec<IpAddr>,
    /// How many times its addresses are announced after a take-over.
    pub announcements: u32,
    /// From one announcement to the next.
    pub announce_interval: Duration,
    /// What is run when the state changes.
    pub notify: Option<PathBuf>,
    /// What must be well for this node to be active.
    pub track: Vec<Track>,
}

/// `[[vrrp.track]]`: something that must be well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// What.
    pub what: Tracked,
    /// What is taken off the priority while it isn't; `None`: the node takes no part then.
    pub penalty: Option<NonZeroU8>,
}

/// What can be tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracked {
    /// An interface is up.
    Interface(String),
    /// A service has so many active backends, at least 1.
    Service {
        /// Its name.
        name: String,
        /// How many.
        backends: u32,
    },
}

/// `[replication]`: the standby's flow table follows the active node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// The file with the key that both nodes have.
    pub key_file: PathBuf,
    /// Where this node listens.
    pub listen: SocketAddr,
    /// Where the other one does.
    pub peer: SocketAddr,
}

impl Group {
    /// Everything that moves with it.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.vips.iter().chain(&self.gateways).copied()
    }

    /// Whether it is IPv6 that advertisements travel by.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.advertise.iter().any(IpAddr::is_ipv6)
    }
}

impl Config {
    /// The groups with their numbers in the data plane, from 1 on.
    pub fn numbered_groups(&self) -> impl Iterator<Item = (u32, &Group)> {
        (1..).zip(&self.groups)
    }
}
