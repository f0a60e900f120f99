//! A routing table with lookup by longest prefix, then metric.

use std::{cmp::Reverse, collections::BTreeMap, fmt, net::Ipv4Addr};

/// An IPv4 prefix; the bits after `length` are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The first address.
    pub network: Ipv4Addr,
    /// Bits that count, 0–32.
    pub length: u8,
}

impl Prefix {
    /// The prefix of `length` bits, 32 at most, that `address` is in.
    pub fn of(address: Ipv4Addr, length: u8) -> Self {
        let length = length.min(32);
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let network = Ipv4Addr::from_bits(address.to_bits() & mask);
        Self { network, length }
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        Self::of(address, self.length) == *self
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

/// Where packets for a prefix go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The link that they leave by.
    pub ifindex: u32,
    /// The router that they go to; `None` when the destination itself is on the link.
    pub gateway: Option<Ipv4Addr>,
    /// The address that this machine speaks from there, where it has one.
    pub source: Option<Ipv4Addr>,
}

impl Route {
    /// Whether the destination itself is on the link.
    pub fn onlink(&self) -> bool {
        self.gateway.is_none()
    }
}

/// A route that can be used, or why it can't ("… says blackhole").
pub(super) type Way = Result<Route, &'static str>;

/// One entry as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub prefix: Prefix,
    /// Lower wins.
    pub metric: u32,
    pub way: Way,
}

/// In the order of lookup: the longest prefix first, the lowest metric first.
type Key = (Reverse<u8>, Ipv4Addr, u32);

/// The routes of one table. Several may share prefix and metric: the first counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Routes(BTreeMap<Key, Vec<Way>>);

fn key(entry: &Entry) -> Key {
    let Prefix { network, length } = entry.prefix;
    (Reverse(length), network, entry.metric)
}

impl Routes {
    /// Adds `entry` behind those with the same prefix and metric.
    pub fn push(&mut self, entry: &Entry) {
        self.0.entry(key(entry)).or_default().push(entry.way);
    }

    /// Those with the prefix and metric of `entry`.
    pub fn same_key(&self, entry: &Entry) -> &[Way] {
        self.0.get(&key(entry)).map_or(&[], Vec::as_slice)
    }

    /// Removes `entry`; false if it wasn't there.
    pub fn remove(&mut self, entry: &Entry) -> bool {
        let Some(ways) = self.0.get_mut(&key(entry)) else {
            return false;
        };
        let Some(place) = ways.iter().position(|way| *way == entry.way) else {
            return false;
        };
        let _ = ways.remove(place);
        if ways.is_empty() {
            self.0.remove(&key(entry));
        }
        true
    }

    /// The way to `destination`.
    pub fn lookup(&self, destination: Ipv4Addr) -> Option<Way> {
        (0..=32).rev().find_map(|length| {
            let network = Prefix::of(destination, length).network;
            let range = (Reverse(length), network, 0)..=(Reverse(length), network, u32::MAX);
            self.0.range(range).next()?.1.first().copied()
        })
    }

    /// The way of each prefix, the most specific prefix first.
    pub fn effective(&self) -> impl Iterator<Item = (Prefix, Way)> {
        let mut last = None;
        self.0.iter().filter_map(move |(key, ways)| {
            let (Reverse(length), network, _) = *key;
            let prefix = Prefix { network, length };
            // A higher metric of the prefix that has just been told.
            if last.replace(prefix) == Some(prefix) {
                return None;
            }
            Some((prefix, *ways.first()?))
        })
    }
}
