//! A picture of what the kernel knows, changed by netlink messages only.

use std::{collections::BTreeMap, net::IpAddr};

use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage, link::LinkMessage, neighbour::NeighbourState,
};

use super::{
    Link, Mac,
    addresses::Addresses,
    decode,
    prefix::{Family, Prefix, is_link_local},
    routes::{Entry, Route, Routes},
};

/// What is known about an address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its Ethernet address, where known.
    pub mac: Option<Mac>,
    /// How far the kernel trusts it.
    pub state: NeighbourState,
}

impl Neighbour {
    /// Its MAC if a frame sent there is likely to arrive: an unconfirmed address
    /// is good until the kernel has found that nobody answers.
    pub fn usable(&self) -> Option<Mac> {
        use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
        match self.state {
            Reachable | Stale | Delay | Probe | Permanent | Noarp => self.mac,
            _ => None,
        }
    }
}

/// What a message did to the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// Nothing.
    Unchanged,
    /// The picture has changed.
    Changed,
    /// Perhaps it has changed, and the kernel does not tell all that comes with
    /// this change: the picture must be taken anew.
    Resync,
}

/// Links, addresses, routes of the main table and neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetState {
    links: BTreeMap<u32, Link>,
    addresses: Addresses,
    routes: Routes,
    neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
}

impl NetState {
    /// The picture that full dumps give.
    pub(crate) fn from_dump<'a>(
        messages: impl IntoIterator<Item = &'a RouteNetlinkMessage>,
    ) -> Self {
        let mut state = Self::default();
        for message in messages {
            match message {
                // In a dump each route is news, and they come in the order of lookup.
                RouteNetlinkMessage::NewRoute(route) => {
                    if let Some(entry) = decode::live_route(route) {
                        state.routes.push(&entry);
                    }
                }
                RouteNetlinkMessage::NewAddress(address) => {
                    if let Some(address) = decode::address(address) {
                        state.addresses.push(address);
                    }
                }
                other => {
                    state.apply(other);
                }
            }
        }
        state
    }

    /// Takes in what the kernel has announced.
    pub(super) fn apply(&mut self, message: &RouteNetlinkMessage) -> Applied {
        use RouteNetlinkMessage as M;
        match message {
            M::NewLink(m) => self.new_link(m),
            M::DelLink(m) => self.del_link(m),
            M::NewAddress(m) => {
                let news = decode::address(m).is_some_and(|a| self.addresses.insert(a));
                changed_if(news)
            }
            // Routes that prefer a lost address as their source go silently.
            M::DelAddress(m) => match decode::address(m) {
                Some(address) if self.addresses.remove(&address) => Applied::Resync,
                _ => Applied::Unchanged,
            },
            M::NewRoute(m) => {
                decode::live_route(m).map_or(Applied::Unchanged, |e| self.new_route(&e))
            }
            M::DelRoute(m) => decode::route(m).map_or(Applied::Unchanged, |e| self.del_route(&e)),
            M::NewNeighbour(m) => {
                changed_if(decode::neighbour(m).is_some_and(|(key, neighbour)| {
                    self.neighbours.insert(key, neighbour) != Some(neighbour)
                }))
            }
            M::DelNeighbour(m) => changed_if(
                decode::neighbour(m).is_some_and(|(key, _)| self.neighbours.remove(&key).is_some()),
            ),
            _ => Applied::Unchanged,
        }
    }

    fn new_link(&mut self, message: &LinkMessage) -> Applied {
        // Bridges announce their ports as links of their own family.
        if message.header.interface_family != AddressFamily::Unspec {
            return Applied::Unchanged;
        }
        let ifindex = message.header.index;
        let before = self.links.get(&ifindex);
        let mut link = before.cloned().unwrap_or_else(|| Link::unknown(ifindex));
        link.take(message);
        // Routes come, go and die with their link, and change their MTU with its, all
        // partly in silence.
        let followed = |link: &Link| (link.up, link.carrier, link.settled, link.mtu);
        let applied = match before {
            Some(before) if *before == link => Applied::Unchanged,
            Some(before) if followed(before) != followed(&link) => Applied::Resync,
            _ => Applied::Changed,
        };
        self.links.insert(ifindex, link);
        applied
    }

    fn del_link(&mut self, message: &LinkMessage) -> Applied {
        // A port that leaves its bridge is announced like a link that is deleted.
        if message.header.interface_family != AddressFamily::Unspec {
            return Applied::Unchanged;
        }
        match self.links.remove(&message.header.index) {
            Some(_) => Applied::Resync,
            None => Applied::Unchanged,
        }
    }

    fn new_route(&mut self, entry: &Entry) -> Applied {
        match self.routes.same_key(entry) {
            [] => {
                self.routes.push(entry);
                Applied::Changed
            }
            [only] if *only == (entry.preference, entry.way) => Applied::Unchanged,
            // Replaced, appended or put before: a new dump tells which counts.
            _ => Applied::Resync,
        }
    }

    fn del_route(&mut self, entry: &Entry) -> Applied {
        if self.routes.remove(entry) {
            return Applied::Changed;
        }
        match self.routes.same_key(entry) {
            [] => Applied::Unchanged,
            // One next hop of several, perhaps.
            _ => Applied::Resync,
        }
    }

    /// All links, by their number.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The link with that number.
    pub fn link(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(&ifindex)
    }

    /// The link with that name.
    pub fn link_by_name(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// Where the node speaks from on a link, of itself: its first address there; of IPv6 the
    /// link-local one. `None` while none is ready.
    pub fn own_address(&self, ifindex: u32, family: Family) -> Option<IpAddr> {
        let link_local = family == Family::V6;
        self.addresses.first_of(ifindex, family, link_local)
    }

    /// Whether `ip` is this machine itself.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.addresses.is_local(ip)
    }

    /// Whether any link but the loopback has an address of that family by which others
    /// can reach it: not link-local, not one that is still being checked for duplicates.
    pub fn has_address(&self, family: Family) -> bool {
        let mut links = self.addresses.links_with(family);
        links.any(|ifindex| self.link(ifindex).is_none_or(|link| !link.loopback))
    }

    /// The links with an address whose subnet `ip` is in.
    pub fn links_near(&self, ip: IpAddr) -> impl Iterator<Item = &Link> {
        self.addresses
            .links_near(ip)
            .filter_map(|ifindex| self.links.get(&ifindex))
    }

    /// What is known about `ip` on a link.
    pub fn neighbour(&self, ifindex: u32, ip: IpAddr) -> Option<&Neighbour> {
        self.neighbours.get(&(ifindex, ip))
    }

    /// The route to `destination`: longest prefix, then lowest metric. `None`
    /// without a route and where the route refuses; [`hop`](Self::hop) says which.
    pub fn route(&self, destination: IpAddr) -> Option<Route> {
        self.lookup(destination)?.ok()
    }

    /// The route to `destination`, or why it can't be used.
    pub(super) fn lookup(&self, destination: IpAddr) -> Option<Result<Route, &'static str>> {
        let way = self.routes.lookup(destination)?;
        Some(way.map(|route| {
            Route {
                source: route
                    .source
                    .or_else(|| self.addresses.source(&route, destination)),
                ..route
            }
        }))
    }

    /// The address that the kernel would speak from to `destination`: the one that the
    /// route prefers, else one of its link's, else of any. Never link-local unless the
    /// destination is, never one that is still being checked for duplicates, and a
    /// deprecated one only where there is no other. `None` without a usable route.
    pub fn source_for(&self, destination: IpAddr) -> Option<IpAddr> {
        if self.is_local(destination) {
            return Some(destination);
        }
        self.route(destination)?.source
    }

    /// The routes of a family that leave by the given links, the most specific first.
    /// Of the routes of one prefix only the one that counts is told, so a prefix whose
    /// best route leaves elsewhere is left out.
    pub fn routes(
        &self,
        family: Family,
        ifindexes: &[u32],
    ) -> impl Iterator<Item = (Prefix, Route)> {
        self.routes
            .effective(family)
            .filter_map(|(prefix, way)| Some((prefix, way.ok()?)))
            .filter(|(_, route)| ifindexes.contains(&route.ifindex))
    }

    /// The (ifindex, router) pairs of all routes.
    pub(super) fn gateways(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.routes.gateways()
    }

    /// (ifindex, address, MAC) of the usable neighbours of a family on the given links,
    /// but for multicast and IPv6 link-local addresses: no client comes from there.
    pub fn neighbours(
        &self,
        family: Family,
        ifindexes: &[u32],
    ) -> impl Iterator<Item = (u32, IpAddr, Mac)> {
        self.neighbours
            .iter()
            .filter(move |((ifindex, ip), _)| {
                Family::of(*ip) == family
                    && ifindexes.contains(ifindex)
                    && !ip.is_multicast()
                    && !is_link_local(*ip)
            })
            .filter_map(|((ifindex, ip), neighbour)| Some((*ifindex, *ip, neighbour.usable()?)))
    }
}

fn changed_if(news: bool) -> Applied {
    if news {
        Applied::Changed
    } else {
        Applied::Unchanged
    }
}
