//! How a frame reaches an address, or why it can't.

use std::net::IpAddr;

use thiserror::Error;

use super::{Link, LinkPath, Mac, NetState, Route, VlanTags, prefix::is_link_local};

/// What a frame needs on its way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The link that the route names.
    pub ifindex: u32,
    /// The link that the frame leaves the machine by: under `ifindex` where that is a
    /// VLAN device, else the same.
    pub port: u32,
    /// The tags that the frame has on `port`.
    pub vlans: VlanTags,
    /// The MAC of `ifindex`.
    pub source_mac: Mac,
    /// The MAC of `via`.
    pub destination_mac: Mac,
    /// Who gets the frame: the destination itself, or a router. A router may be of
    /// another family than the destination.
    pub via: IpAddr,
    /// Whether `via` is the destination itself.
    pub onlink: bool,
    /// The largest IP packet, in bytes, that the links and the route allow. A narrower
    /// link further on isn't known here.
    pub mtu: u32,
}

/// Why no frame can be sent to an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts say it all")]
pub enum NoHop {
    #[error("{destination} is an address of this machine itself")]
    Local { destination: IpAddr },
    #[error(
        "{destination} is a link-local address, which doesn't say on which link: use a global or unique local one"
    )]
    LinkLocal { destination: IpAddr },
    #[error("no route to {destination}")]
    NoRoute { destination: IpAddr },
    #[error("the route to {destination} {why}")]
    Refused {
        destination: IpAddr,
        why: &'static str,
    },
    #[error("the link of the route, number {ifindex}, is gone")]
    NoLink { ifindex: u32 },
    #[error("link {link} is down: `ip link set {link} up` switches it on")]
    LinkDown { link: String },
    #[error("link {link} has no carrier: check its cable or its other end")]
    NoCarrier { link: String },
    #[error("link {link} has no MAC address: only Ethernet links can be used")]
    NoMac { link: String },
    #[error("the link under VLAN device {link} is not in this network namespace")]
    NoParent { link: String },
    #[error("link {link} stacks more than two VLANs: two tags are the most that can be sent")]
    TooManyVlans { link: String },
    #[error("neighbour {via} on {link} not resolved ({state}): it must answer {} there", question(*.via))]
    Unresolved {
        via: IpAddr,
        link: String,
        state: &'static str,
    },
}

impl NetState {
    /// How a frame reaches `destination`.
    ///
    /// # Errors
    /// [`NoHop`] names what is missing.
    pub fn hop(&self, destination: IpAddr) -> Result<Hop, NoHop> {
        let route = self.way(destination)?;
        let via = route.gateway.unwrap_or(destination);
        self.hop_by(&route, via)
    }

    /// How a frame reaches the neighbour `via` by the link of `route`: its router, or a
    /// destination on the link.
    ///
    /// # Errors
    /// [`NoHop`] names what is missing.
    pub fn hop_by(&self, route: &Route, via: IpAddr) -> Result<Hop, NoHop> {
        let ifindex = route.ifindex;
        let LinkPath {
            port,
            vlans,
            mac,
            mtu,
        } = self.link_path(ifindex)?;
        let neighbour = self.neighbour(ifindex, via);
        let Some(destination_mac) = neighbour.and_then(|n| n.usable()) else {
            return Err(NoHop::Unresolved {
                via,
                link: self
                    .link(ifindex)
                    .map(|l| l.name.clone())
                    .unwrap_or_default(),
                state: neighbour.map_or("not asked yet", |n| state_name(n.state)),
            });
        };
        Ok(Hop {
            ifindex,
            port,
            vlans,
            source_mac: mac,
            destination_mac,
            via,
            onlink: route.onlink(),
            mtu: route.mtu.map_or(mtu, |allowed| allowed.min(mtu)),
        })
    }

    /// The (ifindex, address) pair of the neighbour on the way to `destination`,
    /// whether it is resolved or not.
    pub(super) fn next(&self, destination: IpAddr) -> Result<(u32, IpAddr), NoHop> {
        let route = self.way(destination)?;
        self.link_path(route.ifindex)?;
        Ok((route.ifindex, route.gateway.unwrap_or(destination)))
    }

    fn way(&self, destination: IpAddr) -> Result<Route, NoHop> {
        if self.is_local(destination) {
            return Err(NoHop::Local { destination });
        }
        if is_link_local(destination) {
            return Err(NoHop::LinkLocal { destination });
        }
        self.lookup(destination)
            .ok_or_else(|| self.without_route(destination))?
            .map_err(|why| NoHop::Refused { destination, why })
    }

    /// Why there is no route: a link that is switched off takes its routes along.
    fn without_route(&self, destination: IpAddr) -> NoHop {
        let down = self
            .links_near(destination)
            .find(|link| !link.up)
            .map(|link| link.name.clone());
        down.map_or(NoHop::NoRoute { destination }, |link| NoHop::LinkDown {
            link,
        })
    }

    /// A link that is up and has carrier.
    pub(super) fn usable_link(&self, ifindex: u32) -> Result<&Link, NoHop> {
        let link = self.link(ifindex).ok_or(NoHop::NoLink { ifindex })?;
        let name = || link.name.clone();
        if !link.up {
            return Err(NoHop::LinkDown { link: name() });
        }
        if !link.carrier {
            return Err(NoHop::NoCarrier { link: name() });
        }
        Ok(link)
    }
}

/// What a neighbour must answer to be known.
fn question(via: IpAddr) -> &'static str {
    match via {
        IpAddr::V4(_) => "ARP",
        IpAddr::V6(_) => "neighbour solicitations",
    }
}

/// A state by the name that `ip neigh` shows.
fn state_name(state: rtnetlink::packet_route::neighbour::NeighbourState) -> &'static str {
    use rtnetlink::packet_route::neighbour::NeighbourState as S;
    match state {
        S::Incomplete => "INCOMPLETE",
        S::Reachable => "REACHABLE",
        S::Stale => "STALE",
        S::Delay => "DELAY",
        S::Probe => "PROBE",
        S::Failed => "FAILED",
        S::Noarp => "NOARP",
        S::Permanent => "PERMANENT",
        _ => "NONE",
    }
}
