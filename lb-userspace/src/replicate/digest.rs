//! Digests of parts of a table, to see that nothing has changed by reading one copy of it alone.

use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::flow::{BUCKET_SLOTS, Entry, State, Tick};

use super::View;

/// The bits of an entry's age, which a digest doesn't tell.
pub(super) const AGE: u64 = Entry::new(0, 0, Tick::MAX, State::New).bits();
/// Buckets of a part.
pub(super) const BUCKETS: usize = 8;
/// Bytes of a page of memory.
#[cfg(target_arch = "x86_64")]
const PAGE: usize = 4_096;
/// Slots of a part.
pub(super) const SLOTS: usize = BUCKETS * BUCKET_SLOTS;
/// An odd factor for each slot. One slot's change always shows; that several changes cancel out is as likely as
/// guessing a number of 64 bits, since fingerprints are a keyed hash's.
const FACTORS: [u64; SLOTS] = factors();

/// Numbers without a pattern: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014).
const fn factors() -> [u64; SLOTS] {
    let (mut factors, mut state, mut at) = ([0; SLOTS], 0u64, 0);
    while at < SLOTS {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        factors[at] = (mixed ^ mixed >> 31) | 1;
        at += 1;
    }
    factors
}

/// Digests of all parts of a table; 0 is none.
#[derive(Debug)]
pub(super) struct Digests(Vec<u64>);

impl Digests {
    /// None yet, of a table with so many slots. What is left over at its end has none ever.
    pub(super) fn new(slots: usize) -> Self {
        Digests(vec![0; slots / SLOTS])
    }

    /// Whether the part that begins with this bucket is as when its digest was made.
    #[inline(always)]
    pub(super) fn holds(&self, table: View<'_>, bucket: usize) -> bool {
        let known = self.0.get(bucket / BUCKETS).copied().unwrap_or(0);
        known != 0 && known == of_table(table, bucket)
    }

    /// Keeps the digest of the part that ends with this bucket; `copy` is what the whole table holds.
    pub(super) fn keep(&mut self, copy: &[u64], bucket: usize) {
        let part = bucket / BUCKETS;
        if let Some(digest) = self.0.get_mut(part)
            && *digest == 0
        {
            let words = copy[part * SLOTS..][..SLOTS].iter().zip(FACTORS);
            *digest = words.fold(1 << 63, |sum: u64, (word, factor)| {
                sum.wrapping_add((word & !AGE).wrapping_mul(factor))
            });
        }
    }

    /// The slot holds something else.
    pub(super) fn forget(&mut self, slot: usize) {
        if let Some(digest) = self.0.get_mut(slot / SLOTS) {
            *digest = 0;
        }
    }
}

/// Begins with a number that isn't 0, for parts that are empty.
#[inline(always)]
fn of_table(table: View<'_>, first: usize) -> u64 {
    let mut sum = 1 << 63;
    for at in 0..BUCKETS {
        let bucket = table.bucket(first + at);
        prefetch(bucket);
        for slot in 0..BUCKET_SLOTS {
            let word = bucket[slot].load(Ordering::Relaxed) & !AGE;
            let factor = FACTORS[at * BUCKET_SLOTS + slot];
            sum = u64::wrapping_add(sum, word.wrapping_mul(factor));
        }
    }
    sum
}

/// Fetches the line a page ahead: processors do so by themselves within a page alone, and between two passes the
/// table has left the caches.
#[inline(always)]
fn prefetch(bucket: &[AtomicU64; BUCKET_SLOTS]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let ahead = bucket.as_ptr().cast::<i8>().wrapping_add(PAGE);
        // SAFETY: a prefetch reads nothing and faults nowhere, whatever the address (Intel SDM, PREFETCHh).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bucket;
}

#[cfg(test)]
mod tests {
    use lb_common::abi::{Bucket, PortBucket};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        datapath::memory::Shared,
        replicate::{Tables, Which},
    };

    proptest! {
        #[test]
        fn changes_show_and_ages_dont(
            words: [[u64; 32]; 4], slot in 0usize..128, other in 0usize..128, change: u64, age: u8,
        ) {
            let (flows, ports) = (Shared::<Bucket>::zeroed(17), Shared::<PortBucket>::zeroed(0));
            let view = Tables::new(&flows, &ports).of(Which::Flows);
            let mut copy = words.concat();
            copy.resize(17 * 8, 0);
            let write = |words: &[u64]| {
                flows.words().iter().zip(words).for_each(|(to, word)| to.store(*word, Ordering::Relaxed));
            };
            write(&copy);
            let mut digests = Digests::new(copy.len());
            prop_assert!(!digests.holds(view, 0));
            for bucket in [7, 15, 16] {
                digests.keep(&copy, bucket);
            }
            prop_assert!(digests.holds(view, 0) && digests.holds(view, 8));
            prop_assert!(!digests.holds(view, 16));
            let mut changed = copy.clone();
            changed[slot] = Entry::from_bits(changed[slot]).touched(age, Entry::from_bits(changed[slot]).state()).bits();
            write(&changed);
            prop_assert!(digests.holds(view, 0) && digests.holds(view, 8));
            // The same change twice, as when two flows move together.
            prop_assume!(change & !AGE != 0 && slot != other);
            changed[slot] = changed[slot].wrapping_add(change & !AGE);
            write(&changed);
            prop_assert!(!digests.holds(view, slot / SLOTS * BUCKETS));
            changed[other] = changed[other].wrapping_sub(change & !AGE);
            write(&changed);
            let is_other = slot / SLOTS != other / SLOTS;
            prop_assert!(!digests.holds(view, slot / SLOTS * BUCKETS));
            prop_assert!(!is_other || !digests.holds(view, other / SLOTS * BUCKETS));
            digests.keep(&changed, 7);
            prop_assert!(slot >= SLOTS || !digests.holds(view, 0));
            digests.forget(slot);
            digests.keep(&changed, slot / BUCKET_SLOTS);
            prop_assert!(digests.holds(view, slot / SLOTS * BUCKETS));
        }
    }
}
