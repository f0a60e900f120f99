//! A routing table with lookup by longest prefix, then metric.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    ops::Bound::{Excluded, Unbounded},
};

use super::prefix::{Family, Prefix};

/// Where packets for a prefix go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The link that they leave by.
    pub ifindex: u32,
    /// The router that they go to; `None` when the destination itself is on the link.
    /// Of any family: IPv4 may go by an IPv6 router.
    pub gateway: Option<IpAddr>,
    /// The address that this machine speaks from there, where it has one.
    pub source: Option<IpAddr>,
    /// The largest packet, in bytes, that the route itself allows; `None` when it
    /// leaves that to the link.
    pub mtu: Option<u32>,
}

impl Route {
    /// Whether the destination itself is on the link.
    pub fn onlink(&self) -> bool {
        self.gateway.is_none()
    }
}

/// A route that can be used, or why it can't ("… says blackhole").
pub(super) type Way = Result<Route, &'static str>;

/// What routers say of themselves (RFC 4191); it decides between equal metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Preference {
    High,
    Medium,
    Low,
}

/// One entry as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub prefix: Prefix,
    /// Lower wins.
    pub metric: u32,
    pub preference: Preference,
    pub way: Way,
}

/// In the order of lookup: the longest prefix first, the lowest metric first.
type Key = (Reverse<u8>, IpAddr, u32);

/// The routes of one table of both families. Several may share prefix and metric:
/// the first of the most preferred counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Routes(BTreeMap<Key, Vec<(Preference, Way)>>);

fn key(entry: &Entry) -> Key {
    let Prefix { network, length } = entry.prefix;
    (Reverse(length), network, entry.metric)
}

impl Routes {
    /// Adds `entry` behind those with the same prefix, metric and preference.
    pub fn push(&mut self, entry: &Entry) {
        let ways = self.0.entry(key(entry)).or_default();
        let place = ways.partition_point(|(preference, _)| *preference <= entry.preference);
        ways.insert(place, (entry.preference, entry.way));
    }

    /// Those with the prefix and metric of `entry`.
    pub fn same_key(&self, entry: &Entry) -> &[(Preference, Way)] {
        self.0.get(&key(entry)).map_or(&[], Vec::as_slice)
    }

    /// Removes `entry`; false if it wasn't there.
    pub fn remove(&mut self, entry: &Entry) -> bool {
        let Some(ways) = self.0.get_mut(&key(entry)) else {
            return false;
        };
        let Some(place) = ways.iter().position(|(_, way)| *way == entry.way) else {
            return false;
        };
        let _ = ways.remove(place);
        if ways.is_empty() {
            self.0.remove(&key(entry));
        }
        true
    }

    /// The way to `destination`.
    pub fn lookup(&self, destination: IpAddr) -> Option<Way> {
        const LAST: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));
        let mut length = Family::of(destination).bits();
        loop {
            let network = Prefix::of(destination, length).network;
            let range = (Reverse(length), network, 0)..=(Reverse(length), network, u32::MAX);
            if let Some((_, ways)) = self.0.range(range).next() {
                return ways.first().map(|(_, way)| *way);
            }
            // The next length that any prefix has.
            let end = Excluded((Reverse(length), LAST, u32::MAX));
            let ((Reverse(shorter), ..), _) = self.0.range((end, Unbounded)).next()?;
            length = *shorter;
        }
    }

    /// The way of each prefix of a family, the most specific prefix first.
    pub fn effective(&self, family: Family) -> impl Iterator<Item = (Prefix, Way)> {
        let mut last = None;
        self.0.iter().filter_map(move |(key, ways)| {
            let (Reverse(length), network, _) = *key;
            let prefix = Prefix { network, length };
            // Or a higher metric of the prefix that has just been told.
            if prefix.family() != family || last.replace(prefix) == Some(prefix) {
                return None;
            }
            Some((prefix, ways.first()?.1))
        })
    }

    /// The (ifindex, router) pairs of the routes by which a packet may leave.
    pub fn gateways(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        let first = self.0.values().filter_map(|ways| ways.first()?.1.ok());
        first.filter_map(|route| Some((route.ifindex, route.gateway?)))
    }
}
