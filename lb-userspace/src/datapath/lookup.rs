//! Finding one flow: what the data plane does for each packet, done once for a person who
//! asks.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::Ordering,
};

use lb_common::{
    abi::{Endpoint, Family, Keeping, Kind, Owner, selector},
    flow::{self, BUCKET_SLOTS, Entry, FINGERPRINT_BITS, Tick},
    hash::{self, FlowKeys},
    wheel::{Index, Slot},
};

use super::{Flows, Tables};
use crate::plan::{self, ServiceKey};

/// A flow of a service, and everything that tells where its packets go.
pub struct Sought {
    /// The service.
    service: Endpoint,
    keys: FlowKeys,
    client: SocketAddr,
    vip_port: u16,
}

/// A known flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its entry.
    pub entry: Entry,
    /// Of `full-nat`: the place of its source address in the pool, and its source port.
    pub source: Option<(u32, u16)>,
}

impl Tables {
    /// The flow of `client` to a port of the VIP of a service; `None` when the data plane
    /// doesn't know the service.
    #[must_use]
    pub fn seek(&self, key: ServiceKey, client: SocketAddr, vip_port: u16) -> Option<Sought> {
        let (family, vip) = plan::words(key.vip);
        let selector = selector(
            family,
            key.port.to_be(),
            key.protocol_number(),
            Kind::Service,
        );
        Some(Sought {
            service: self.endpoints.get(vip, selector)?,
            keys: FlowKeys(self.identity.load(0).flow_keys),
            client,
            vip_port,
        })
    }

    /// The place of a service's wheel that all packets of a flow find; `None` of services
    /// whose scheduler doesn't go by the flow, or while no backend takes new flows.
    #[must_use]
    pub fn place(&self, sought: &Sought) -> Option<Slot> {
        let wheel = sought.service.wheel();
        let hash = sought.place_hash()?;
        let entries = self.wheel(wheel.chunk, wheel.length);
        entries
            .get(hash::reduce(hash, wheel.length) as usize)
            .copied()
    }
}

impl Sought {
    /// Where the service's flows are kept.
    #[must_use]
    pub fn keeping(&self) -> Keeping {
        Keeping::from_byte(self.service.keeping)
    }

    /// The flow's hash.
    fn hash(&self) -> u64 {
        let ports = u32::from(self.client.port().to_be());
        let ports = ports | u32::from(self.vip_port.to_be()) << 16;
        let client = self.folded(self.client.ip());
        self.service.seed().hash(client, ports)
    }

    /// The hash that gives the flow its place in the wheel.
    fn place_hash(&self) -> Option<u64> {
        match Index::from_byte(self.service.index) {
            Index::Hash => Some(self.hash()),
            Index::Source => {
                let client = prefix(self.client.ip(), self.service.prefix());
                Some(self.service.seed().hash(self.folded(client), 0))
            }
            Index::Counter | Index::Random | Index::Load => None,
        }
    }

    fn folded(&self, client: IpAddr) -> u64 {
        match plan::words(client) {
            (Family::V4, words) => u64::from(words[0]),
            (Family::V6, words) => self.keys.fold_keys().fold(words),
        }
    }
}

impl Flows {
    /// The entry of a flow, an expired one too while it isn't cleared.
    #[must_use]
    pub fn find(&self, sought: &Sought) -> Option<Found> {
        let hash = sought.hash();
        match sought.keeping() {
            Keeping::Flows | Keeping::Changes => self.find_entry(hash),
            Keeping::Ports => self.find_port(hash, sought),
        }
    }

    /// Whether an entry's timeout has passed.
    #[must_use]
    pub fn is_expired(&self, entry: Entry, now: Tick) -> bool {
        entry.is_expired(now, self.timeouts)
    }

    fn find_entry(&self, hash: u64) -> Option<Found> {
        let shift = 64 - self.buckets.length().ilog2();
        let (bucket, fingerprint) = flow::place(hash, shift);
        let words = self.buckets.record(bucket as u32);
        let load = |slot: usize| Entry::from_bits(words[slot].load(Ordering::Relaxed));
        let (_, entry) = flow::find(load, fingerprint)?;
        Some(Found {
            entry,
            source: None,
        })
    }

    /// A flow has a port in one of two buckets of its family's part of the pool.
    fn find_port(&self, hash: u64, sought: &Sought) -> Option<Found> {
        let (family, client) = plan::words(sought.client.ip());
        let owner = Owner {
            client,
            client_port: sought.client.port().to_be(),
            vip_port: sought.vip_port.to_be(),
            service: sought.service.number(),
        };
        let fingerprint = hash & ((1 << FINGERPRINT_BITS) - 1);
        let found_in = |bucket: u32| {
            // A pool without this family has no bucket.
            if bucket >= self.ports.length() {
                return None;
            }
            let record = self.ports.load(bucket);
            let (slot, entry) =
                flow::find(|slot| Entry::from_bits(record.entries[slot]), fingerprint)?;
            let source = self.pool.port(bucket, slot as u32);
            (entry.backend() != 0 && record.owners[slot % BUCKET_SLOTS] == owner).then_some(Found {
                entry,
                source: Some(source),
            })
        };
        let buckets = self.pool.choice(hash, family);
        buckets.into_iter().find_map(found_in)
    }
}

/// The first `bits` bits of an address, the others 0.
fn prefix(address: IpAddr, bits: u8) -> IpAddr {
    let rest = |all: u32| all.saturating_sub(u32::from(bits));
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(rest(32)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(rest(128)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{
        abi::{Bucket, Pool, PortBucket, Wheel},
        flow::{State, Timeouts},
    };

    use super::*;
    use crate::datapath::memory::Shared;

    const POOL: Pool = Pool {
        first_port: 1_024,
        buckets: 8,
        v4: 1,
        v6: 2,
    };

    fn sought(client: &str, vip: &str, keeping: Keeping, index: Index) -> Sought {
        let keys = FlowKeys(std::array::from_fn(|i| {
            0x9e37_79b9_7f4a_7c15u64.wrapping_mul(i as u64 + 1)
        }));
        let vip: SocketAddr = vip.parse().unwrap();
        let (family, words) = plan::words(vip.ip());
        let (wheel, port) = (Wheel::default(), vip.port().to_be());
        let service = Endpoint::service(&keys, family, words, port, 6, keeping, index, 3, wheel);
        Sought {
            service: service.with_prefix(24),
            keys,
            client: client.parse().unwrap(),
            vip_port: vip.port(),
        }
    }

    fn flows(buckets: Shared<Bucket>, ports: Shared<PortBucket>) -> Flows {
        Flows::new(buckets, ports, POOL, Timeouts::new([2, 234, 2, 4]))
    }

    #[test]
    fn a_flow_is_found_by_its_hash_alone() {
        let of = |client| sought(client, "203.0.113.10:80", Keeping::Flows, Index::Counter);
        let (there, other) = (of("198.51.100.1:40000"), of("198.51.100.1:40001"));
        let buckets = Shared::<Bucket>::zeroed(1 << 10);
        let (bucket, fingerprint) = flow::place(there.hash(), 64 - 10);
        let entry = Entry::new(fingerprint, 9, 1, State::Established);
        buckets.record(bucket as u32)[5].store(entry.bits(), Ordering::Relaxed);
        let flows = flows(buckets, Shared::zeroed(1));
        let source = None;
        assert_eq!(flows.find(&there), Some(Found { entry, source }));
        assert_eq!(flows.find(&other), None);
    }

    #[test]
    fn a_full_nat_flow_is_found_with_its_source_port_and_by_its_owner() {
        let vip = "[2001:db8::10]:80";
        let there = sought("[2001:db8::1]:40000", vip, Keeping::Ports, Index::Counter);
        let ports = Shared::<PortBucket>::zeroed(POOL.size());
        let hash = there.hash();
        // The second of its buckets, in the part of IPv6.
        let bucket = 8 + hash::reduce(hash.rotate_left(32), 16);
        let mut record = ports.load(bucket);
        let fingerprint = hash & ((1 << FINGERPRINT_BITS) - 1);
        let entry = Entry::new(fingerprint, 9, 1, State::New);
        record.entries[2] = entry.bits();
        record.owners[2] = Owner {
            client: plan::words(there.client.ip()).1,
            client_port: 40_000u16.to_be(),
            vip_port: 80u16.to_be(),
            service: 3,
        };
        ports.store(bucket, &record);
        let flows = flows(Shared::zeroed(2), ports);
        let found = flows.find(&there).unwrap();
        assert_eq!(found.entry, entry);
        assert_eq!(found.source, Some(POOL.port(bucket, 2)));

        record.owners[2].client_port = 40_001u16.to_be();
        flows.ports.store(bucket, &record);
        assert_eq!(flows.find(&there), None);
    }

    #[test]
    fn source_affinity_sees_the_prefix_alone() {
        let of = |client| sought(client, "203.0.113.10:80", Keeping::Changes, Index::Source);
        let place = |client| of(client).place_hash();
        assert_eq!(place("198.51.100.1:1"), place("198.51.100.9:2"));
        assert_ne!(place("198.51.100.1:1"), place("198.51.101.1:1"));
        let six: IpAddr = "2001:db8:1:2::1".parse().unwrap();
        assert_eq!(prefix(six, 40), "2001:db8::".parse::<IpAddr>().unwrap());
        assert_eq!(prefix(six, 0), "::".parse::<IpAddr>().unwrap());
        assert_eq!(prefix(six, 128), six);
    }
}
