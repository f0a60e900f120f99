//! Counting the flow table: one pass over its memory, a part by each CPU.

use std::{
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use lb_common::{
    abi::Identity,
    flow::{BUCKET_SLOTS, Entry, State, Tick, Timeouts},
};
use rustix::time::ClockId;

use super::Flows;

/// Bounds that ages may be told by, in seconds.
const BOUNDS: [u64; 5] = [10, 60, 300, 1_800, 7_200];
/// Classes of ages: one below each bound, and one above all.
pub const CLASSES: usize = BOUNDS.len() + 1;
/// The class of entries that have expired and aren't cleared yet.
const EXPIRED: usize = 7;
const _: () = assert!(CLASSES <= EXPIRED);

/// Counters of one backend: eight classes for each state.
const COUNTERS: usize = 8 * State::ALL.len();
/// State and age of an entry, its lowest bits.
const STATE_AND_AGE: u64 = Entry::new(0, 0, Tick::MAX, State::Assured).bits();

/// Threads beyond which memory is what takes the time.
const MOST_THREADS: usize = 8;

/// Flows by backend number, state and age.
pub struct Census(Vec<u32>);

/// Flows of [`State::ALL`], in that order, by class of age.
pub type Counts = [[u32; CLASSES]; State::ALL.len()];

impl Census {
    /// The flows of a backend. What is 0's is nobody's.
    #[must_use]
    pub fn of(&self, backend: u16) -> Counts {
        let counters = &self.0[usize::from(backend) * COUNTERS..][..COUNTERS];
        std::array::from_fn(|state| std::array::from_fn(|class| counters[state * 8 + class]))
    }
}

/// How ages are told from an entry's tick.
#[derive(Debug, Clone)]
pub struct Ages {
    tick: Duration,
    bounds: Vec<u64>,
}

impl Ages {
    /// The ages that a table of this make knows on this kernel.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        let jiffy = rustix::time::clock_getres(ClockId::MonotonicCoarse);
        let jiffy = Duration::from_nanos(jiffy.tv_nsec.unsigned_abs());
        Self::of_tick(jiffy * (1 << identity.tick_shift))
    }

    fn of_tick(tick: Duration) -> Self {
        let known = |bound: &u64| Duration::from_secs(*bound) >= tick;
        let bounds = BOUNDS.into_iter().filter(known).collect();
        Self { tick, bounds }
    }

    /// How finely they are known.
    #[must_use]
    pub fn tick(&self) -> Duration {
        self.tick
    }

    /// The upper bound of each class of age, in seconds. Above the last there is one
    /// class more, and what classes there are beyond it are empty.
    #[must_use]
    pub fn bounds(&self) -> &[u64] {
        &self.bounds
    }

    /// The time within which an entry's last packet came.
    #[must_use]
    pub fn below(&self, idle_ticks: u8) -> Duration {
        // A packet may have come when its tick began, or ended.
        self.tick * (u32::from(idle_ticks) + 1)
    }

    fn class(&self, idle_ticks: u8) -> usize {
        let below = self.below(idle_ticks);
        let fits = |bound: &u64| below <= Duration::from_secs(*bound);
        let found = self.bounds.iter().position(fits);
        found.unwrap_or(self.bounds.len())
    }
}

/// Where an entry is counted among its backend's, by its state and age.
struct Classes(Vec<u8>);

impl Classes {
    fn new(now: Tick, timeouts: Timeouts, ages: &Ages) -> Self {
        let class = |bits| {
            let entry = Entry::from_bits(bits);
            let class = match entry.is_expired(now, timeouts) {
                true => EXPIRED,
                false => ages.class(entry.idle(now)),
            };
            (entry.state() as usize * 8 + class) as u8
        };
        Classes((0..=STATE_AND_AGE).map(class).collect())
    }

    /// Counts entries. Free slots and such as are being written are backend 0's, so that
    /// nothing needs to be asked about any.
    fn count<'a>(&self, words: impl Iterator<Item = &'a AtomicU64>, counts: &mut [u32]) {
        for word in words {
            let entry = Entry::from_bits(word.load(Ordering::Relaxed));
            let class = self.0[(entry.bits() & STATE_AND_AGE) as usize];
            counts[usize::from(entry.backend()) * COUNTERS + usize::from(class)] += 1;
        }
    }
}

impl Flows {
    /// Counts the flows that haven't expired by `now`, those with a port of their own
    /// included. Takes time in proportion to the tables: on two CPUs some 110 ms for 16 M
    /// slots. Don't wait for it where others wait.
    #[must_use]
    pub fn census(&self, now: Tick, ages: &Ages) -> Census {
        let classes = Classes::new(now, self.timeouts, ages);
        let words = self.buckets.words();
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let part = words.len().div_ceil(threads.min(MOST_THREADS)).max(1);
        let count = |part: &[AtomicU64]| {
            let mut counts = vec![0; (usize::from(u16::MAX) + 1) * COUNTERS];
            classes.count(part.iter(), &mut counts);
            counts
        };
        let parts: Vec<Vec<u32>> = thread::scope(|scope| {
            let parts = words.chunks(part);
            let threads: Vec<_> = parts.map(|part| scope.spawn(|| count(part))).collect();
            let joined = threads.into_iter().map(|thread| {
                let panicked = |panic| std::panic::resume_unwind(panic);
                thread.join().unwrap_or_else(panicked)
            });
            joined.collect()
        });
        let add = |mut sum: Vec<u32>, part: Vec<u32>| {
            sum.iter_mut().zip(part).for_each(|(sum, n)| *sum += n);
            sum
        };
        let mut counts = parts.into_iter().reduce(add).unwrap_or_else(|| count(&[]));
        let ports = (0..self.pool.size().min(self.ports.length()))
            .flat_map(|bucket| &self.ports.record(bucket)[..BUCKET_SLOTS]);
        classes.count(ports, &mut counts);
        Census(counts)
    }
}

#[cfg(test)]
mod tests {
    use lb_common::abi::{Bucket, Pool, PortBucket};

    use super::*;
    use crate::datapath::memory::Shared;

    const TIMEOUTS: Timeouts = Timeouts::new([12, 234, 12, 24]);
    const NOW: Tick = 20;

    fn ages() -> Ages {
        Ages::of_tick(Duration::from_secs(5))
    }

    fn put(words: &[AtomicU64], slot: usize, entry: Entry) {
        words[slot].store(entry.bits(), Ordering::Relaxed);
    }

    #[test]
    fn flows_are_counted_by_backend_state_and_age() {
        let buckets = Shared::<Bucket>::zeroed(64);
        let pool = Pool {
            first_port: 1_024,
            buckets: 2,
            v4: 1,
            v6: 0,
        };
        let ports = Shared::<PortBucket>::zeroed(pool.size());
        let words = buckets.words();
        put(words, 0, Entry::new(1, 7, NOW, State::Established));
        put(words, 200, Entry::new(2, 7, NOW - 2, State::Established));
        put(words, 511, Entry::new(3, 65_535, NOW - 11, State::New));
        // Expired, and a little in the future.
        put(words, 100, Entry::new(4, 7, NOW - 13, State::New));
        put(words, 101, Entry::new(5, 8, NOW + 1, State::Assured));
        put(words, 102, Entry::claimed(NOW));
        put(
            ports.record(1),
            3,
            Entry::new(6, 7, NOW.wrapping_sub(230), State::Established),
        );
        put(ports.record(1), BUCKET_SLOTS, Entry::from_bits(u64::MAX));
        let census = Flows::new(buckets, ports, pool, TIMEOUTS).census(NOW, &ages());
        let empty = Counts::default();
        let with = |places: &[(State, usize)]| {
            let mut counts = empty;
            for &(state, class) in places {
                counts[state as usize][class] += 1;
            }
            counts
        };
        let established = [0, 1, 3].map(|class| (State::Established, class));
        assert_eq!(census.of(7), with(&established));
        assert_eq!(census.of(8), with(&[(State::Assured, 0)]));
        assert_eq!(census.of(65_535), with(&[(State::New, 1)]));
        assert_eq!(census.of(9), empty);
    }

    #[test]
    fn no_bound_is_finer_than_the_clock() {
        let ages = Ages::of_tick(Duration::from_secs(33));
        assert_eq!(ages.bounds(), [60, 300, 1_800, 7_200]);
        // Two ticks may be 99 s.
        assert_eq!([0, 1, 2, 255].map(|idle| ages.class(idle)), [0, 1, 1, 4]);
        assert_eq!(ages.below(2), Duration::from_secs(99));
    }

    /// What a table of ten million flows takes: run it with
    /// `cargo test --release -p lb-userspace --lib census -- --ignored --nocapture`.
    #[test]
    #[ignore = "prints a time, which means something in a release build on a quiet machine"]
    fn ten_million_flows_in_sixteen_million_slots() {
        const SLOTS: usize = 16 << 20;
        const FLOWS: u32 = 10_000_000;
        let buckets = Shared::<Bucket>::zeroed((SLOTS / BUCKET_SLOTS) as u32);
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut left = FLOWS;
        while left > 0 {
            // Marsaglia's xorshift.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let word = &buckets.words()[random as usize % SLOTS];
            if word.load(Ordering::Relaxed) != 0 {
                continue;
            }
            let backend = 1 + (random >> 32) as u16 % 65_000;
            let (age, state) = ((random >> 48) as u8 % 12, State::ALL[left as usize % 4]);
            let entry = Entry::new(random >> 26, backend, NOW - age, state);
            word.store(entry.bits(), Ordering::Relaxed);
            left -= 1;
        }
        let flows = Flows::new(buckets, Shared::zeroed(1), Pool::default(), TIMEOUTS);
        for _ in 0..5 {
            let begun = std::time::Instant::now();
            let census = flows.census(NOW, &ages());
            let took = begun.elapsed();
            let all = (1..=u16::MAX).flat_map(|backend| census.of(backend));
            let all: u32 = all.flatten().sum();
            assert_eq!(all, FLOWS);
            println!("{FLOWS} flows of 65,000 backends in {SLOTS} slots: {took:?}");
        }
    }
}
