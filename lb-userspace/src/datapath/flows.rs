//! The flow table as memory: counting and expiring by scans.

use std::sync::atomic::Ordering;

use lb_common::{
    abi::Bucket,
    flow::{Entry, Tick, Timeouts},
};

use super::memory::Shared;

/// The flow table.
pub struct Flows {
    buckets: Shared<Bucket>,
    timeouts: Timeouts,
}

impl Flows {
    /// The table in `buckets`.
    #[must_use]
    pub fn new(buckets: Shared<Bucket>, timeouts: Timeouts) -> Self {
        Flows { buckets, timeouts }
    }

    /// Slots, used or not.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.buckets.words().len() as u64
    }

    /// Clears entries that have expired by `now`, and counts the others by backend
    /// number. Takes time in proportion to the table: about 10 ms for 2 M slots.
    #[must_use]
    pub fn sweep(&self, now: Tick) -> Vec<u32> {
        let mut flows = vec![0u32; usize::from(u16::MAX) + 1];
        for word in self.buckets.words() {
            let bits = word.load(Ordering::Relaxed);
            let entry = Entry::from_bits(bits);
            if entry.is_empty() {
                continue;
            }
            // A packet that comes now makes the entry young again, and the exchange fail.
            if entry.is_expired(now, self.timeouts)
                && word
                    .compare_exchange(bits, 0, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                continue;
            }
            flows[usize::from(entry.backend())] += 1;
        }
        flows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::flow::State;

    #[test]
    fn a_sweep_counts_the_living_and_clears_the_expired() {
        let buckets = Shared::<Bucket>::zeroed(4);
        let put = |slot: usize, entry: Entry| {
            buckets.words()[slot].store(entry.bits(), Ordering::Relaxed)
        };
        put(0, Entry::new(1, 7, 10, State::Established));
        put(9, Entry::new(2, 7, 10, State::New));
        put(31, Entry::new(3, 8, 19, State::New));
        let flows = Flows::new(buckets, Timeouts::new([2, 234, 2, 4]));
        let counts = flows.sweep(20);
        assert_eq!((counts[7], counts[8]), (1, 1));
        assert_eq!(counts.iter().sum::<u32>(), 2);
        assert!(Entry::from_bits(flows.buckets.words()[9].load(Ordering::Relaxed)).is_empty());
    }
}
