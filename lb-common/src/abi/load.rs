use super::Record;

/// How much a backend has to do. Userspace counts its flows from time to time, and the data
/// plane adds each new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C, align(8))]
pub struct Load {
    /// Flows that it has.
    pub flows: u32,
    /// Its weight; 0 for a number that is no backend's.
    pub weight: u32,
}

impl Load {
    /// From one word, as it lies in the map.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Load {
            flows: bits as u32,
            weight: (bits >> 32) as u32,
        }
    }

    /// In one word, as it lies in the map.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.flows as u64 | (self.weight as u64) << 32
    }

    /// Whether one more flow is less of a burden here than for `other`, by the flows that
    /// both would then have for their weight.
    #[must_use]
    #[inline(always)]
    pub const fn is_below(self, other: Load) -> bool {
        (self.flows as u64 + 1) * (other.weight as u64)
            < (other.flows as u64 + 1) * (self.weight as u64)
    }
}

// SAFETY: two u32 fill the checked 8 bytes; integers take every bit pattern.
unsafe impl Record for Load {}
const _: () = assert!(size_of::<Load>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_compared_by_weight() {
        let load = |flows, weight| Load { flows, weight };
        assert!(load(4, 1).is_below(load(5, 1)));
        assert!(!load(5, 1).is_below(load(5, 1)));
        assert!(load(8, 2).is_below(load(5, 1)));
        assert!(!load(12, 2).is_below(load(5, 1)));
        assert_eq!(Load::from_bits(load(7, 9).bits()), load(7, 9));
    }
}
