//! The flow table and the `full-nat` ports as memory: counting and expiring by scans.

use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::{
    abi::{Bucket, Pool, PortBucket},
    flow::{BUCKET_SLOTS, Entry, Tick, Timeouts},
};

use super::memory::Shared;

/// The flow table and the ports.
pub struct Flows {
    pub(super) buckets: Shared<Bucket>,
    pub(super) ports: Shared<PortBucket>,
    pub(super) pool: Pool,
    pub(super) timeouts: Timeouts,
}

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Living flows by backend number, those with a port of their own included.
    pub flows: Vec<u32>,
    /// Ports of the pool in use.
    pub ports: PortsUsed,
}

/// How many source ports of the `full-nat` pool flows have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortsUsed {
    /// Of IPv4 addresses.
    pub v4: u64,
    /// Of IPv6 addresses.
    pub v6: u64,
}

impl Flows {
    /// The table in `buckets`, and the ports of `pool`.
    #[must_use]
    pub fn new(
        buckets: Shared<Bucket>,
        ports: Shared<PortBucket>,
        pool: Pool,
        timeouts: Timeouts,
    ) -> Self {
        Flows {
            buckets,
            ports,
            pool,
            timeouts,
        }
    }

    /// Slots of the flow table, used or not.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.buckets.words().len() as u64
    }

    /// Clears entries that have expired by `now`, and counts the others. Takes time in
    /// proportion to the tables: about 10 ms for 2 M slots.
    #[must_use]
    pub fn sweep(&self, now: Tick) -> Swept {
        let mut flows = vec![0u32; usize::from(u16::MAX) + 1];
        for word in self.buckets.words() {
            if let Some(entry) = self.living(word, now) {
                flows[usize::from(entry.backend())] += 1;
            }
        }
        let mut ports = PortsUsed::default();
        let of_v4 = u32::from(self.pool.v4) * u32::from(self.pool.buckets);
        for bucket in 0..self.pool.size().min(self.ports.length()) {
            let used = match bucket < of_v4 {
                true => &mut ports.v4,
                false => &mut ports.v6,
            };
            // The owners behind them mean something only beside an entry.
            for word in &self.ports.record(bucket)[..BUCKET_SLOTS] {
                if let Some(entry) = self.living(word, now) {
                    flows[usize::from(entry.backend())] += 1;
                    *used += 1;
                }
            }
        }
        Swept { flows, ports }
    }

    /// The entry in a slot; one that has expired is cleared.
    fn living(&self, word: &AtomicU64, now: Tick) -> Option<Entry> {
        let bits = word.load(Ordering::Relaxed);
        let entry = Entry::from_bits(bits);
        if entry.is_empty() {
            return None;
        }
        // A packet that comes now makes the entry young again, and the exchange fail.
        if entry.is_expired(now, self.timeouts)
            && word
                .compare_exchange(bits, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            return None;
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::flow::State;

    const TIMEOUTS: Timeouts = Timeouts::new([2, 234, 2, 4]);
    const POOL: Pool = Pool {
        first_port: 1_024,
        buckets: 2,
        v4: 1,
        v6: 1,
    };

    #[test]
    fn a_sweep_counts_the_living_and_clears_the_expired() {
        let buckets = Shared::<Bucket>::zeroed(4);
        let put = |slot: usize, entry: Entry| {
            buckets.words()[slot].store(entry.bits(), Ordering::Relaxed)
        };
        put(0, Entry::new(1, 7, 10, State::Established));
        put(9, Entry::new(2, 7, 10, State::New));
        put(31, Entry::new(3, 8, 19, State::New));
        let flows = Flows::new(buckets, Shared::zeroed(1), Pool::default(), TIMEOUTS);
        let counts = flows.sweep(20).flows;
        assert_eq!((counts[7], counts[8]), (1, 1));
        assert_eq!(counts.iter().sum::<u32>(), 2);
        assert!(Entry::from_bits(flows.buckets.words()[9].load(Ordering::Relaxed)).is_empty());
    }

    #[test]
    fn ports_are_counted_by_family_and_keep_their_backends_numbers() {
        let ports = Shared::<PortBucket>::zeroed(POOL.size());
        let put = |bucket: u32, slot: usize, entry: Entry| {
            ports.record(bucket)[slot].store(entry.bits(), Ordering::Relaxed);
            // An owner, which is no entry.
            ports.record(bucket)[BUCKET_SLOTS + slot * 3].store(u64::MAX, Ordering::Relaxed);
        };
        put(0, 0, Entry::new(1, 7, 20, State::New));
        put(1, 7, Entry::new(2, 7, 20, State::New));
        put(2, 3, Entry::new(3, 9, 20, State::Assured));
        put(3, 3, Entry::new(4, 9, 10, State::New));
        let flows = Flows::new(Shared::zeroed(1), ports, POOL, TIMEOUTS);
        let swept = flows.sweep(20);
        assert_eq!(swept.ports, PortsUsed { v4: 2, v6: 1 });
        assert_eq!((swept.flows[7], swept.flows[9]), (2, 1));
        assert_eq!(flows.ports.record(3)[3].load(Ordering::Relaxed), 0);
    }
}
