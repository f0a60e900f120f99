//! How a frame reaches an address, or why it can't.

use std::net::Ipv4Addr;

use thiserror::Error;

use super::{Mac, NetState};

/// What a frame needs on its way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The link that it leaves by.
    pub ifindex: u32,
    /// That link's MAC.
    pub source_mac: Mac,
    /// The MAC of `via`.
    pub destination_mac: Mac,
    /// Who gets the frame: the destination itself, or a router.
    pub via: Ipv4Addr,
    /// Whether `via` is the destination itself.
    pub onlink: bool,
}

/// Why no frame can be sent to an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts say it all")]
pub enum NoHop {
    #[error("{destination} is an address of this machine itself")]
    Local { destination: Ipv4Addr },
    #[error("no route to {destination}")]
    NoRoute { destination: Ipv4Addr },
    #[error("the route to {destination} {why}")]
    Refused {
        destination: Ipv4Addr,
        why: &'static str,
    },
    #[error("the link of the route to {destination}, number {ifindex}, is gone")]
    NoLink { destination: Ipv4Addr, ifindex: u32 },
    #[error("link {link} is down: `ip link set {link} up` switches it on")]
    LinkDown { link: String },
    #[error("link {link} has no carrier: check its cable or its other end")]
    NoCarrier { link: String },
    #[error("link {link} has no MAC address: only Ethernet links can be used")]
    NoMac { link: String },
    #[error("neighbour {via} on {link} not resolved ({state}): it must answer ARP there")]
    Unresolved {
        via: Ipv4Addr,
        link: String,
        state: &'static str,
    },
}

impl NetState {
    /// How a frame reaches `destination`.
    ///
    /// # Errors
    /// [`NoHop`] names what is missing.
    pub fn hop(&self, destination: Ipv4Addr) -> Result<Hop, NoHop> {
        let (ifindex, via, source_mac) = self.next(destination)?;
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
            source_mac,
            destination_mac,
            via,
            onlink: via == destination,
        })
    }

    /// The link, the neighbour on it, and the link's MAC on the way to
    /// `destination`, whether the neighbour is resolved or not.
    pub(super) fn next(&self, destination: Ipv4Addr) -> Result<(u32, Ipv4Addr, Mac), NoHop> {
        if self.is_local(destination) {
            return Err(NoHop::Local { destination });
        }
        let route = self
            .lookup(destination)
            .ok_or_else(|| self.without_route(destination))?
            .map_err(|why| NoHop::Refused { destination, why })?;
        let ifindex = route.ifindex;
        let link = self.link(ifindex).ok_or(NoHop::NoLink {
            destination,
            ifindex,
        })?;
        let name = || link.name.clone();
        if !link.up {
            return Err(NoHop::LinkDown { link: name() });
        }
        if !link.carrier {
            return Err(NoHop::NoCarrier { link: name() });
        }
        let mac = link.mac.ok_or_else(|| NoHop::NoMac { link: name() })?;
        Ok((ifindex, route.gateway.unwrap_or(destination), mac))
    }

    /// Why there is no route: a link that is switched off takes its routes along.
    fn without_route(&self, destination: Ipv4Addr) -> NoHop {
        let down = self
            .links_near(destination)
            .find(|link| !link.up)
            .map(|link| link.name.clone());
        down.map_or(NoHop::NoRoute { destination }, |link| NoHop::LinkDown {
            link,
        })
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
