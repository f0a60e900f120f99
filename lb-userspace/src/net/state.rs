//! A picture of what the kernel knows, changed by netlink messages only.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
    neighbour::NeighbourState,
};

use super::{
    Mac, decode,
    routes::{Entry, Prefix, Route, Routes},
};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number, which stays while it exists.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; `None` where the link layer is another.
    pub mac: Option<Mac>,
    /// The largest IP packet that it carries, in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether there is a cable and somebody at its other end.
    pub carrier: bool,
}

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

/// An IPv4 address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub ifindex: u32,
    pub ip: Ipv4Addr,
    /// Who is reached directly through it.
    pub subnet: Prefix,
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

/// Links, IPv4 addresses, routes of the main table and neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetState {
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<Address>,
    routes: Routes,
    neighbours: BTreeMap<(u32, Ipv4Addr), Neighbour>,
}

impl NetState {
    /// The picture that full dumps give.
    pub(super) fn from_dump<'a>(
        messages: impl IntoIterator<Item = &'a RouteNetlinkMessage>,
    ) -> Self {
        let mut state = Self::default();
        for message in messages {
            match message {
                // In a dump each route is news, and they come in the order of lookup.
                RouteNetlinkMessage::NewRoute(route) => {
                    if let Some(entry) = decode::route(route) {
                        state.routes.push(&entry);
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
            M::NewRoute(m) => decode::route(m).map_or(Applied::Unchanged, |e| self.new_route(&e)),
            M::DelRoute(m) => changed_if(decode::route(m).is_some_and(|e| self.routes.remove(&e))),
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

    /// A message may hold some of a link's attributes only.
    fn new_link(&mut self, message: &LinkMessage) -> Applied {
        // Bridges announce their ports as links of their own family.
        if message.header.interface_family != AddressFamily::Unspec {
            return Applied::Unchanged;
        }
        let ifindex = message.header.index;
        let before = self.links.get(&ifindex);
        let mut link = before.cloned().unwrap_or(Link {
            ifindex,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: false,
            carrier: false,
        });
        link.up = message.header.flags.contains(LinkFlags::Up);
        link.carrier = message.header.flags.contains(LinkFlags::LowerUp);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => link.mac = decode::mac(bytes),
                LinkAttribute::Mtu(bytes) => link.mtu = *bytes,
                _ => {}
            }
        }
        let applied = match before {
            Some(before) if *before == link => Applied::Unchanged,
            // Routes come, go and die with their link, partly in silence.
            Some(before) if (before.up, before.carrier) != (link.up, link.carrier) => {
                Applied::Resync
            }
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
            [only] if *only == entry.way => Applied::Unchanged,
            // Replaced, appended or put before: a new dump tells which counts.
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

    /// Whether `ip` is this machine itself.
    pub fn is_local(&self, ip: Ipv4Addr) -> bool {
        ip.is_loopback() || self.addresses.iter().any(|address| address.ip == ip)
    }

    /// The links with an address whose subnet `ip` is in.
    pub(super) fn links_near(&self, ip: Ipv4Addr) -> impl Iterator<Item = &Link> {
        let near = self.addresses.iter().filter(move |a| a.subnet.contains(ip));
        near.filter_map(|address| self.links.get(&address.ifindex))
    }

    /// What is known about `ip` on a link.
    pub fn neighbour(&self, ifindex: u32, ip: Ipv4Addr) -> Option<&Neighbour> {
        self.neighbours.get(&(ifindex, ip))
    }

    /// The route to `destination`: longest prefix, then lowest metric. `None`
    /// without a route and where the route refuses; [`hop`](Self::hop) says which.
    pub fn route(&self, destination: Ipv4Addr) -> Option<Route> {
        self.lookup(destination)?.ok()
    }

    /// The route to `destination`, or why it can't be used.
    pub(super) fn lookup(&self, destination: Ipv4Addr) -> Option<Result<Route, &'static str>> {
        let way = self.routes.lookup(destination)?;
        Some(way.map(|route| Route {
            source: route.source.or_else(|| self.source(&route, destination)),
            ..route
        }))
    }

    /// The address that the kernel would choose to speak from: one in the next
    /// hop's subnet, else any of the link's.
    fn source(&self, route: &Route, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let via = route.gateway.unwrap_or(destination);
        let of_link = || self.addresses.iter().filter(|a| a.ifindex == route.ifindex);
        let near = of_link().find(|address| address.subnet.contains(via));
        near.or_else(|| of_link().next()).map(|address| address.ip)
    }

    /// The routes that leave by the given links, the most specific first. Of the
    /// routes of one prefix only the one that counts is told, so a prefix whose
    /// best route leaves elsewhere is left out.
    pub fn routes(&self, ifindexes: &[u32]) -> impl Iterator<Item = (Prefix, Route)> {
        self.routes
            .effective()
            .filter_map(|(prefix, way)| Some((prefix, way.ok()?)))
            .filter(|(_, route)| ifindexes.contains(&route.ifindex))
    }

    /// (ifindex, address, MAC) of the usable neighbours on the given links.
    pub fn neighbours(&self, ifindexes: &[u32]) -> impl Iterator<Item = (u32, Ipv4Addr, Mac)> {
        self.neighbours
            .iter()
            .filter(|((ifindex, ip), _)| ifindexes.contains(ifindex) && !ip.is_multicast())
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
