//! How the two nodes speak with each other: a column of the matrix, and both sides'
//! configurations for it.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
    time::Duration,
};

use crate::site::Network;

pub use crate::site::Family;

/// The virtual router.
pub const VRID: u8 = 51;
/// The priority of the node that is to be active.
pub const HIGH: u8 = 150;
/// The priority of the other one.
pub const LOW: u8 = 100;

/// The version of VRRP, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Version 2, at its shortest interval.
    V2,
    /// Version 3.
    V3,
    /// Version 3 whose checksum leaves the pseudo-header out.
    V3AsV2,
}

/// How advertisements go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cast {
    /// To the group of all VRRP routers.
    Multicast,
    /// To the other node.
    Unicast,
}

/// One of the two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Flowgate.
    Ours,
    /// keepalived.
    Theirs,
}

/// A node's part in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// 1 to 255.
    pub priority: u8,
    /// Whether it takes over from an active node of lower priority.
    pub preempt: bool,
}

/// Version, way and IP version of advertisements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// Of VRRP.
    pub version: Version,
    /// How advertisements go.
    pub cast: Cast,
    /// The IP version of advertisements.
    pub family: Family,
}

impl Node {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Ours => Self::Theirs,
            Self::Theirs => Self::Ours,
        }
    }

    /// Its MAC address.
    pub fn mac(self) -> [u8; 6] {
        [2, 0, 0, 0, 0, self.number()]
    }

    /// Its address.
    pub fn address(self, family: Family) -> IpAddr {
        host(family, self.number())
    }

    fn number(self) -> u8 {
        match self {
            Self::Ours => 2,
            Self::Theirs => 3,
        }
    }
}

/// A host's address on the link.
pub fn host(family: Family, number: u8) -> IpAddr {
    family.host(Network::Front, number)
}

/// The VIP. Both move, whichever version of IP advertisements have.
pub fn vip(family: Family) -> IpAddr {
    host(family, 80)
}

impl Wire {
    /// All that exist: version 2 has no IPv6, and IPv6 no choice of checksum.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for version in [Version::V3, Version::V2, Version::V3AsV2] {
            for family in [Family::V4, Family::V6] {
                for cast in [Cast::Multicast, Cast::Unicast] {
                    if version == Version::V3 || family == Family::V4 {
                        all.push(Self {
                            version,
                            cast,
                            family,
                        });
                    }
                }
            }
        }
        all
    }

    /// How often the active node advertises.
    pub fn interval(self) -> Duration {
        match self.version {
            Version::V2 => Duration::from_secs(1),
            _ => Duration::from_millis(100),
        }
    }

    /// How long a standby of that priority waits once the active node has resigned (RFC 3768
    /// and RFC 9568, section 6.1).
    pub fn skew(self, priority: u8) -> Duration {
        let whole = match self.version {
            Version::V2 => Duration::from_secs(1),
            _ => self.interval(),
        };
        whole * (256 - u32::from(priority)) / 256
    }

    /// How long it waits when it hears nothing.
    pub fn down(self, priority: u8) -> Duration {
        self.interval() * 3 + self.skew(priority)
    }

    /// The version in advertisements.
    pub fn number(self) -> u8 {
        match self.version {
            Version::V2 => 2,
            _ => 3,
        }
    }

    /// The file of a Flowgate that has this part.
    pub fn flowgate(self, part: Part) -> String {
        let mut text = String::from("[node]\ninterfaces = [\"eth0\"]\nmax_flows = 1024\n");
        let vips = self.families().map(vip);
        let _ = write!(
            text,
            "\n[[vrrp]]\nname = \"site\"\ninterface = \"eth0\"\nvrid = {VRID}\n\
             version = {}\npriority = {}\ninterval = \"{}ms\"\npreempt = {}\nvips = {vips:?}\n",
            self.number(),
            part.priority,
            self.interval().as_millis(),
            part.preempt,
            vips = vips.map(|vip| vip.to_string()),
        );
        if self.version == Version::V3AsV2 {
            text.push_str("checksum_as_v2 = true\n");
        }
        if self.cast == Cast::Unicast {
            let own = Node::Ours.address(self.family);
            let peer = Node::Theirs.address(self.family);
            let _ = write!(text, "address = \"{own}\"\npeers = [\"{peer}\"]\n");
        }
        for (name, vip) in ["one", "other"].into_iter().zip(vips) {
            let _ = write!(
                text,
                "\n[[service]]\nname = \"{name}\"\nvip = \"{vip}\"\nport = 80\nprotocol = \"tcp\"\n\
                 forward = \"dsr\"\n"
            );
        }
        text
    }

    /// The file of a keepalived that has this part, and tells of its states by `fifo`.
    pub fn keepalived(self, part: Part, fifo: &str) -> String {
        let [advertised, excluded] = self.families().map(vip);
        let bits = |vip: IpAddr| if vip.is_ipv4() { 32 } else { 128 };
        let mut text = format!(
            "global_defs {{\n    vrrp_notify_fifo {fifo} root root\n}}\n\n\
             vrrp_instance site {{\n    state BACKUP\n    interface eth0\n    \
             virtual_router_id {VRID}\n    version {}\n    priority {}\n    advert_int {}\n",
            self.number(),
            part.priority,
            self.interval().as_secs_f32(),
        );
        if !part.preempt {
            text.push_str("    nopreempt\n");
        }
        if self.cast == Cast::Unicast {
            let own = Node::Theirs.address(self.family);
            let peer = Node::Ours.address(self.family);
            let _ = write!(
                text,
                "    unicast_src_ip {own}\n    unicast_peer {{\n        {peer}\n    }}\n"
            );
            if self.family == Family::V6 {
                // It would be 64, which could have come from anywhere.
                text.push_str("    unicast_ttl 255\n");
            }
        }
        let _ = write!(
            text,
            "    virtual_ipaddress {{\n        {advertised}/{} dev eth0\n    }}\n    \
             virtual_ipaddress_excluded {{\n        {excluded}/{} dev eth0\n    }}\n}}\n",
            bits(advertised),
            bits(excluded),
        );
        text
    }

    /// That of advertisements first.
    fn families(self) -> [Family; 2] {
        match self.family {
            Family::V4 => [Family::V4, Family::V6],
            Family::V6 => [Family::V6, Family::V4],
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version {
            Version::V2 => "v2",
            Version::V3 => "v3",
            Version::V3AsV2 => "v3 checksum as v2",
        };
        let cast = match self.cast {
            Cast::Multicast => "multicast",
            Cast::Unicast => "unicast",
        };
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        write!(f, "{version}, {cast}, {family}")
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "Flowgate",
            Self::Theirs => "keepalived",
        })
    }
}
