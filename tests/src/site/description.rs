//! What is said of a site before it is built.

use std::fmt;

use super::{Family, Network};

/// How packets reach the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Direct server return.
    Dsr,
    /// Translation of the destination; the servers are behind the load balancer.
    Nat,
    /// Translation of both ends.
    FullNat,
    /// In another IP packet.
    Ipip,
    /// In UDP.
    Gue,
}

impl Way {
    /// Whether packets are put into others.
    pub fn tunnels(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Whether servers see the VIP as the destination, and answer for it.
    pub fn keeps_vip(self) -> bool {
        self.tunnels() || self == Self::Dsr
    }
}

/// How the hosts of a site are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// A switch for each network.
    Switches,
    /// The networks of the load balancer are VLANs on one cable.
    Trunk,
    /// As [`Wiring::Switches`], with an MTU of [`JUMBO`] on every link.
    Jumbo,
    /// Another router is between the load balancer and the servers, which are on a network
    /// of their own. Only for tunnels: the others need them on the load balancer's.
    Routed,
}

/// The MTU of links that take long frames, in bytes.
pub const JUMBO: u32 = 9000;

/// What a site is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// How packets reach the servers.
    pub way: Way,
    /// What clients speak.
    pub vip: Family,
    /// What the load balancer speaks to the servers.
    pub servers: Family,
    /// How they are connected.
    pub wiring: Wiring,
}

impl Description {
    /// The families that the hosts have addresses of.
    pub fn families(self) -> Vec<Family> {
        if self.vip == self.servers {
            vec![self.vip]
        } else {
            vec![self.vip, self.servers]
        }
    }

    /// The network that the servers are on.
    pub fn server_network(self) -> Network {
        match (self.way, self.wiring) {
            (Way::Nat, _) | (_, Wiring::Routed) => Network::Back,
            _ => Network::Front,
        }
    }

    /// The networks that the load balancer is on.
    pub fn networks(self) -> &'static [Network] {
        match self.way {
            Way::Nat => &[Network::Front, Network::Back],
            _ => &[Network::Front],
        }
    }

    /// The load balancer's interfaces that packets come in by.
    pub fn interfaces(self) -> Vec<&'static str> {
        self.cables().iter().map(|network| network.name()).collect()
    }

    /// Whether the networks are VLANs on one cable.
    pub(super) fn is_trunk(self) -> bool {
        self.wiring == Wiring::Trunk
    }

    /// The networks whose switches it is plugged into.
    pub(super) fn cables(self) -> &'static [Network] {
        if self.is_trunk() {
            &[Network::Front]
        } else {
            self.networks()
        }
    }

    /// The device by which a host is on a network, when it is plugged in by `plug`.
    pub fn device(self, plug: &str, network: Network) -> String {
        match network.vlan() {
            Some(id) if self.is_trunk() => format!("{plug}.{id}"),
            _ => plug.to_owned(),
        }
    }

    /// The load balancer's device towards the servers.
    pub fn device_to_servers(self) -> String {
        let network = match self.wiring {
            Wiring::Routed => Network::Front,
            _ => self.server_network(),
        };
        let plug = if self.is_trunk() {
            Network::Front
        } else {
            network
        };
        self.device(plug.name(), network)
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, VIP {:?}, servers {:?}, {:?}",
            self.way, self.vip, self.servers, self.wiring
        )
    }
}
