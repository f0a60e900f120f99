//! How packets reach the servers of a pair.

use std::net::Ipv4Addr;

use super::bed::{GATEWAY, ROUTER};

/// How packets reach the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Direct server return.
    Dsr,
    /// Translation of the destination; the servers' way out is the active node.
    Nat,
    /// Translation of both ends.
    FullNat,
    /// A proxy: two connections, one of them the node's own.
    Proxy,
}

impl Way {
    /// Its name, in the product's configuration too if it has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dsr => "dsr",
            Self::Nat => "nat",
            Self::FullNat => "full-nat",
            Self::Proxy => "proxy",
        }
    }

    /// Whether the servers see the VIP as the destination.
    pub fn keeps_vip(self) -> bool {
        self == Self::Dsr
    }

    /// Whether the servers are reached by the back network.
    pub const fn is_behind(self) -> bool {
        !matches!(self, Self::Dsr)
    }

    /// Whether datagrams reach the servers.
    pub fn carries_datagrams(self) -> bool {
        self != Self::Proxy
    }

    /// The servers' default route.
    pub fn servers_gateway(self) -> Ipv4Addr {
        match self {
            Self::Nat => GATEWAY,
            _ => ROUTER,
        }
    }
}
