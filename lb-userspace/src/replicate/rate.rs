//! A bound on bytes a millisecond.

use super::{MILLISECOND, seal::MOST};

/// A token bucket: in any time it gives out at most the rate's bytes for that time and
/// [`Rate::burst`] more.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_ms: u64,
    /// Bytes times [`MILLISECOND`], so that nothing is lost to rounding.
    tokens: u128,
    refilled: Option<u64>,
}

impl Rate {
    pub(super) fn new(bytes_per_ms: u32) -> Self {
        Rate {
            bytes_per_ms: u64::from(bytes_per_ms.max(1)),
            tokens: 0,
            refilled: None,
        }
    }

    /// Bytes that may leave at once: ten milliseconds' worth, and no fewer than four datagrams.
    pub(super) fn burst(&self) -> u64 {
        (self.bytes_per_ms * 10).max(4 * MOST as u64)
    }

    /// Takes note of the time. The bucket is full at first.
    pub(super) fn refill(&mut self, ns: u64) {
        let full = u128::from(self.burst()) * u128::from(MILLISECOND);
        self.tokens = match self.refilled {
            None => full,
            Some(at) => {
                let came = u128::from(ns.saturating_sub(at)) * u128::from(self.bytes_per_ms);
                full.min(self.tokens + came)
            }
        };
        self.refilled = Some(self.refilled.map_or(ns, |at| at.max(ns)));
    }

    /// Whole datagrams of the greatest length that may leave now.
    pub(super) fn datagrams(&self) -> usize {
        (self.tokens / u128::from(MILLISECOND) / MOST as u128) as usize
    }

    /// Takes what a datagram of this length costs; false when there isn't as much.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let cost = bytes as u128 * u128::from(MILLISECOND);
        let is_there = cost <= self.tokens;
        if is_there {
            self.tokens -= cost;
        }
        is_there
    }
}
