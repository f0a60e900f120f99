//! The flow table and the `full-nat` ports as memory: counting and expiring by scans.

use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::{
    abi::{Bucket, Pool, PortBucket},
    flow::{BUCKET_SLOTS, Entry, State, Tick, Timeouts},
};

use super::memory::Shared;
use crate::{
    config::model::Protocol,
    plan::{Seen, Watch},
};

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
    /// Those of them that aren't closing.
    pub open: Vec<u32>,
    /// What was seen of the watched services, in their order.
    pub seen: Vec<Seen>,
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

    /// The slots of the flow table.
    #[cfg(test)]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.buckets.words()
    }

    /// Slots of the flow table, used or not.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.buckets.words().len() as u64
    }

    /// Clears entries that have expired by `now`, and counts the others; of watched
    /// services also clears what needs no entry any more. Takes time in proportion to the
    /// tables: about 10 ms for 2 M slots.
    #[must_use]
    pub fn sweep(&self, now: Tick, watches: &[Watch]) -> Swept {
        let numbers = usize::from(u16::MAX) + 1;
        let mut swept = Swept {
            flows: vec![0; numbers],
            open: vec![0; numbers],
            seen: watches.iter().map(Watch::seen).collect(),
            ports: PortsUsed::default(),
        };
        // 1 more than the place of the watch, by backend.
        let mut watched = vec![0u16; numbers];
        for (at, watch) in watches.iter().enumerate() {
            for &number in &watch.numbers {
                watched[usize::from(number)] = at as u16 + 1;
            }
        }
        for word in self.buckets.words() {
            let entry = Entry::from_bits(word.load(Ordering::Relaxed));
            if entry.is_empty() {
                continue;
            }
            let at = usize::from(watched[usize::from(entry.backend())]);
            let living = match at.checked_sub(1) {
                None => self.living(word, now, self.timeouts),
                Some(at) => self.watched(word, now, &watches[at], &mut swept.seen[at]),
            };
            if let Some(entry) = living {
                swept.count(entry);
            }
        }
        let of_v4 = u32::from(self.pool.v4) * u32::from(self.pool.buckets);
        for bucket in 0..self.pool.size().min(self.ports.length()) {
            // The owners behind them mean something only beside an entry.
            for word in &self.ports.record(bucket)[..BUCKET_SLOTS] {
                if let Some(entry) = self.living(word, now, self.timeouts) {
                    swept.count(entry);
                    match bucket < of_v4 {
                        true => swept.ports.v4 += 1,
                        false => swept.ports.v6 += 1,
                    }
                }
            }
        }
        swept
    }

    /// As [`Flows::living`], of a watched service.
    fn watched(
        &self,
        word: &AtomicU64,
        now: Tick,
        watch: &Watch,
        seen: &mut Seen,
    ) -> Option<Entry> {
        let entry = Entry::from_bits(word.load(Ordering::Relaxed));
        let timeouts = match watch.lingers(entry) {
            true => lingering(self.timeouts, watch.key.protocol),
            false => self.timeouts,
        };
        let entry = self.living(word, now, timeouts)?;
        if watch.is_needless(entry) && clear(word, entry) {
            return None;
        }
        watch.note(entry, seen);
        Some(entry)
    }

    /// The entry in a slot; one that has expired is cleared.
    fn living(&self, word: &AtomicU64, now: Tick, timeouts: Timeouts) -> Option<Entry> {
        let entry = Entry::from_bits(word.load(Ordering::Relaxed));
        // A packet that comes now makes the entry young again, and the exchange fail.
        let is_gone = entry.is_empty() || (entry.is_expired(now, timeouts) && clear(word, entry));
        (!is_gone).then_some(entry)
    }
}

impl Swept {
    fn count(&mut self, entry: Entry) {
        self.flows[usize::from(entry.backend())] += 1;
        if entry.state() != State::Closing {
            self.open[usize::from(entry.backend())] += 1;
        }
    }
}

/// Clears a slot, unless another entry is there by now.
fn clear(word: &AtomicU64, entry: Entry) -> bool {
    let (order, failed) = (Ordering::Relaxed, Ordering::Relaxed);
    word.compare_exchange(entry.bits(), 0, order, failed)
        .is_ok()
}

/// The timeouts where a flow of which one packet was seen counts as much as any other.
fn lingering(timeouts: Timeouts, protocol: Protocol) -> Timeouts {
    let most = match protocol {
        Protocol::Tcp => State::Established,
        Protocol::Udp => State::Assured,
    };
    let mut ticks = State::ALL.map(|state| timeouts.of(state));
    ticks[State::New as usize] = timeouts.of(State::New).max(timeouts.of(most));
    Timeouts::new(ticks)
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
        let counts = flows.sweep(20, &[]).flows;
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
        let swept = flows.sweep(20, &[]);
        assert_eq!(swept.ports, PortsUsed { v4: 2, v6: 1 });
        assert_eq!((swept.flows[7], swept.flows[9]), (2, 1));
        assert_eq!(flows.ports.record(3)[3].load(Ordering::Relaxed), 0);
    }
}
