//! The filter of known addresses: a bit for each that an endpoint has. Where a packet's
//! isn't set, the data plane needn't look for a VIP or a server.

use std::{collections::HashMap, sync::atomic::Ordering};

use lb_common::{abi::Address, hash, limits};

use super::memory::Shared;

/// The filter, and how many endpoints each of its bits is for.
pub struct Known {
    words: Shared<u64>,
    counts: HashMap<u32, u32>,
}

impl Known {
    /// Takes over a filter, for an empty endpoint table: bits that no endpoint needs in
    /// the end stay until one that does is taken out, and do no harm.
    #[must_use]
    pub fn open(words: Shared<u64>) -> Self {
        Known {
            words,
            counts: HashMap::new(),
        }
    }

    /// An endpoint has this address: before it is in the table.
    pub fn add(&mut self, address: Address) {
        let bit = bit(address);
        let count = self.counts.entry(bit).or_default();
        *count += 1;
        if *count == 1 {
            self.word(bit).fetch_or(1 << (bit % 64), Ordering::Release);
        }
    }

    /// An endpoint less has it: after it is out of the table.
    pub fn remove(&mut self, address: Address) {
        let bit = bit(address);
        let Some(count) = self.counts.get_mut(&bit) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&bit);
            self.word(bit)
                .fetch_and(!(1 << (bit % 64)), Ordering::Release);
        }
    }

    fn word(&self, bit: u32) -> &std::sync::atomic::AtomicU64 {
        &self.words.record(bit / 64)[0]
    }
}

fn bit(address: Address) -> u32 {
    hash::known(address, limits::KNOWN_BITS.ilog2())
}

#[cfg(test)]
impl Known {
    pub(super) fn bits(&self) -> u32 {
        let words = self.words.words().iter();
        words
            .map(|word| word.load(Ordering::Relaxed).count_ones())
            .sum()
    }

    pub(super) fn into_memory(self) -> Shared<u64> {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::abi::ipv4;

    #[test]
    fn a_bit_stays_while_an_endpoint_has_it() {
        let mut known = Known::open(Shared::zeroed(limits::KNOWN_BITS / 64));
        let (one, other) = (ipv4([10, 0, 0, 1]), ipv4([10, 0, 0, 2]));
        for address in [one, one, other] {
            known.add(address);
        }
        assert_eq!(known.bits(), 2);
        known.remove(one);
        assert_eq!(known.bits(), 2);
        known.remove(one);
        assert_eq!(known.bits(), 1);
        known.remove(one);
        known.remove(other);
        assert_eq!(known.bits(), 0);
    }
}
