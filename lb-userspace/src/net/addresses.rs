//! The addresses of this machine, and which of them it speaks from.

use std::{cmp::Reverse, net::IpAddr};

use rtnetlink::packet_route::address::{AddressFlags, AddressScope};

use super::{
    prefix::{Family, Prefix, is_link_local},
    routes::Route,
};

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub ifindex: u32,
    pub ip: IpAddr,
    /// Who is reached directly through it.
    pub subnet: Prefix,
    pub scope: AddressScope,
    pub flags: AddressFlags,
}

impl Address {
    fn same(&self, other: &Self) -> bool {
        (self.ifindex, self.ip, self.subnet) == (other.ifindex, other.ip, other.subnet)
    }

    /// Whether it is ours beyond doubt: duplicate address detection is over, or needn't
    /// be waited for.
    fn ready(&self) -> bool {
        let flags = self.flags;
        let waits =
            flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
        !self.lost() && !waits
    }

    /// Whether somebody else was found to have it.
    fn lost(&self) -> bool {
        self.flags.contains(AddressFlags::Dadfailed)
    }

    fn secondary(&self) -> bool {
        self.flags.contains(AddressFlags::Secondary)
    }
}

/// In the order in which the kernel goes through those of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses(Vec<Address>);

impl Addresses {
    /// The first usable address of a link in a family: of IPv6 the link-local one, if
    /// `link_local`, else one that isn't.
    pub fn first_of(&self, ifindex: u32, family: Family, link_local: bool) -> Option<IpAddr> {
        let suits = |address: &&Address| {
            address.ifindex == ifindex
                && address.ready()
                && Family::of(address.ip) == family
                && is_link_local(address.ip) == link_local
        };
        self.0.iter().find(suits).map(|address| address.ip)
    }

    /// Adds one, as a dump tells them; false if it was there, the same in every way.
    pub fn push(&mut self, address: Address) -> bool {
        match self.0.iter_mut().find(|known| known.same(&address)) {
            Some(known) if *known == address => return false,
            Some(known) => *known = address,
            None => self.0.push(address),
        }
        true
    }

    /// Adds one that is new in the kernel: it keeps the newest IPv6 address first.
    pub fn insert(&mut self, address: Address) -> bool {
        let known = self.0.iter().any(|known| known.same(&address));
        if known || address.ip.is_ipv4() {
            return self.push(address);
        }
        self.0.insert(0, address);
        true
    }

    /// Removes one; false if it wasn't there.
    pub fn remove(&mut self, address: &Address) -> bool {
        let before = self.0.len();
        self.0.retain(|known| !known.same(address));
        self.0.len() != before
    }

    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.0
            .iter()
            .any(|address| address.ip == ip && !address.lost())
    }

    /// The links that have an address whose subnet `ip` is in.
    pub fn links_near(&self, ip: IpAddr) -> impl Iterator<Item = u32> {
        let near = self.0.iter().filter(move |a| a.subnet.contains(ip));
        near.map(|address| address.ifindex)
    }

    /// The links that have an address of that family by which others can reach them.
    pub fn links_with(&self, family: Family) -> impl Iterator<Item = u32> {
        let usable = self.0.iter().filter(move |address| {
            Family::of(address.ip) == family
                && address.scope == AddressScope::Universe
                && !address.ip.is_loopback()
                && address.ready()
        });
        usable.map(|address| address.ifindex)
    }

    /// The address that the kernel would choose to speak from by `route`.
    pub fn source(&self, route: &Route, destination: IpAddr) -> Option<IpAddr> {
        match destination {
            IpAddr::V4(_) => self.source_v4(route),
            IpAddr::V6(_) => self.source_v6(route, destination),
        }
    }

    /// One in the router's subnet, else any of the link's, else any at all; no
    /// secondary one, and none of host scope.
    fn source_v4(&self, route: &Route) -> Option<IpAddr> {
        let usable = |a: &&Address| {
            a.ip.is_ipv4()
                && !a.secondary()
                && matches!(a.scope, AddressScope::Universe | AddressScope::Link)
                && (a.scope == AddressScope::Universe || a.ifindex == route.ifindex)
        };
        let rank = |a: &&Address| {
            let near = route.gateway.is_some_and(|via| a.subnet.contains(via));
            let of_link = a.ifindex == route.ifindex;
            (!of_link, a.scope != AddressScope::Universe, !near)
        };
        self.best(usable, rank)
    }

    /// By the rules of RFC 6724, section 5, without those for home addresses.
    fn source_v6(&self, route: &Route, destination: IpAddr) -> Option<IpAddr> {
        let near = is_link_local(destination);
        let usable = |a: &&Address| {
            let of_link = a.ifindex == route.ifindex;
            a.ip.is_ipv6()
                && !a.ip.is_loopback()
                && a.ready()
                && (of_link || !near)
                && (near || !is_link_local(a.ip))
        };
        let rank = |a: &&Address| {
            (
                near && !is_link_local(a.ip),
                a.flags.contains(AddressFlags::Deprecated),
                a.ifindex != route.ifindex,
                label(a.ip) != label(destination),
                // Of IPv6 this says that it is a temporary one.
                a.secondary(),
                Reverse(common(a.ip, destination).min(a.subnet.length)),
            )
        };
        self.best(usable, rank)
    }

    /// The first of the best.
    fn best<K: Ord>(
        &self,
        usable: impl Fn(&&Address) -> bool,
        rank: impl Fn(&&Address) -> K,
    ) -> Option<IpAddr> {
        let best = self.0.iter().filter(usable).min_by_key(rank)?;
        Some(best.ip)
    }
}

/// The bits, from the front, that two addresses of a family have in common.
fn common(a: IpAddr, b: IpAddr) -> u8 {
    let different = match (a, b) {
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    };
    different as u8
}

/// Addresses of one label belong together (RFC 6724, section 2.1).
#[derive(Debug, PartialEq, Eq)]
enum Label {
    UniqueLocal,
    SixToFour,
    Teredo,
    Other,
}

fn label(ip: IpAddr) -> Label {
    let segments = match ip {
        IpAddr::V6(v6) => v6.segments(),
        IpAddr::V4(_) => return Label::Other,
    };
    match segments {
        [0xfc00..=0xfdff, ..] => Label::UniqueLocal,
        [0x2002, ..] => Label::SixToFour,
        [0x2001, 0, ..] => Label::Teredo,
        _ => Label::Other,
    }
}
