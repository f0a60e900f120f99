//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Everything here works on 16-bit words in the byte order of the packet, read
//! with the machine's own loads: the sum is the same up to a byte swap, which
//! the store undoes (RFC 1071 section 2 (B)).

/// The difference that changed words make to a one's complement sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// A multiple of 0xffff, and so nothing in one's complement: what was there before is taken
    /// from it, which costs an instruction less than adding its complement. With what is added
    /// and taken it stays below the bound of [`fold`].
    const NOTHING: u64 = 0xffff << 28;

    /// No change. Up to 4,000 words of either size may change from there.
    #[must_use]
    #[inline(always)]
    #[allow(
        clippy::new_without_default,
        reason = "a difference has no usual value"
    )]
    pub const fn new() -> Self {
        Delta(Delta::NOTHING)
    }

    /// A 16-bit word changes from `old` to `new`.
    #[must_use]
    #[inline(always)]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Delta(self.0 + new as u64 - old as u64)
    }

    /// Two neighbouring words change, such as an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn pair(self, old: u32, new: u32) -> Self {
        Delta(self.0 + new as u64 - old as u64)
    }

    /// Eight neighbouring words change, such as an IPv6 address.
    #[must_use]
    #[inline(always)]
    pub const fn eight(self, old: [u32; 4], new: [u32; 4]) -> Self {
        Delta(self.0 + sum(new) - sum(old))
    }

    /// A change whose difference is known: [`Delta::folded`], or the complement of that for the
    /// same change the other way round.
    #[must_use]
    #[inline(always)]
    pub const fn known(self, difference: u16) -> Self {
        Delta(self.0 + difference as u64)
    }

    /// The difference in one word; never 0.
    #[must_use]
    pub const fn folded(self) -> u16 {
        fold(self.0)
    }

    /// A word becomes less by `less`, which doesn't make it negative.
    #[must_use]
    #[inline(always)]
    pub const fn less(self, less: u16) -> Self {
        Delta(self.0 - less as u64)
    }

    /// The checksum that follows `checksum` under these changes
    /// (RFC 1624 equation 3: `HC' = ~(~HC + ~m + m')`).
    #[must_use]
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 - checksum as u64)
    }

    /// This difference, through `opaque`, which gives back the same number, but so that the
    /// compiler knows nothing about it: it is worked out now, and what it is made of needn't be
    /// kept.
    #[must_use]
    #[inline(always)]
    pub fn through(self, opaque: impl Fn(u64) -> u64) -> Self {
        Delta(opaque(self.0))
    }

    /// Both differences.
    #[must_use]
    #[inline(always)]
    pub const fn and(self, other: Delta) -> Self {
        Delta(self.0 + other.0 - Delta::NOTHING)
    }

    /// [`Delta::apply`], with all ones for a computed 0. They are the same number in
    /// one's complement, so receivers take either; but under a message that is all
    /// zeros only all ones adds up, and the update can't tell which case it is.
    #[must_use]
    #[inline(always)]
    pub const fn apply_nonzero(self, checksum: u16) -> u16 {
        match self.apply(checksum) {
            0 => 0xffff,
            updated => updated,
        }
    }

    /// [`Delta::apply`] for UDP over IPv4: 0 says that there is no checksum and
    /// stays, and a computed 0 is sent as all ones (RFC 768).
    #[must_use]
    #[inline(always)]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        self.apply_nonzero(checksum)
    }
}

#[inline(always)]
const fn sum([a, b, c, d]: [u32; 4]) -> u64 {
    a as u64 + b as u64 + c as u64 + d as u64
}

/// The checksum that follows `checksum` when one word becomes less by `less`, which is not 0 and
/// doesn't make it negative: what [`Delta::apply`] gives, in fewer instructions (RFC 1624
/// section 4 for the sum that is all ones).
#[must_use]
#[inline(always)]
pub const fn after_less(checksum: u16, less: u16) -> u16 {
    let sum = checksum as u32 + less as u32;
    (sum + ((sum + 1) >> 16)) as u16
}

/// Folds a sum to 16 bits with end-around carry: one below 2^47, as that of up to 32,768 words of
/// 32 bits is.
#[must_use]
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    debug_assert!(sum < 1 << 47, "a carry may be lost");
    // The product's highest word is the sum of the three, and what the word below carries: the
    // same sum, with what the lower two carry. So it carries what goes around, also where adding
    // that carries once more.
    (sum.wrapping_mul(0x0001_0001_0001_0001) >> 48) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain definition (RFC 1071 section 1), written without `fold`.
    fn checksum(words: &[u16]) -> u16 {
        let mut sum = 0u32;
        for &word in words {
            sum += u32::from(word);
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        !(sum as u16)
    }

    #[test]
    fn less_by_a_hop_is_the_same_for_every_checksum() {
        for less in [0x0100u16.to_be(), 1, 0xffff] {
            // All ones is the checksum of zeros only, of which none can become less.
            for checksum in 0..u16::MAX {
                let updated = Delta::new().less(less).apply(checksum);
                assert_eq!(
                    after_less(checksum, less),
                    updated,
                    "{checksum:04x}, {less:04x}"
                );
            }
        }
    }

    #[test]
    fn a_sum_below_its_bound_leaves_no_carry() {
        // It is the lower two words' sum that matters, not which they are.
        for pair in 0..=2 * 0xffff_u32 {
            let first = pair.min(0xffff);
            let (a, b) = (first as u16, (pair - first) as u16);
            for c in [0, 1, 2, 0x4000, 0x7ffe, 0x7fff] {
                let sum = u64::from(c) << 32 | u64::from(b) << 16 | u64::from(a);
                assert_eq!(fold(sum), !checksum(&[a, b, c]), "{sum:x}");
            }
        }
    }

    #[test]
    fn rfc_1071_section_3_example() {
        // Words 0001 f203 f4f5 f6f7 sum to 2ddf0, folded ddf2.
        assert_eq!(fold(0x2_ddf0), 0xddf2);
        assert_eq!(checksum(&[0x0001, 0xf203, 0xf4f5, 0xf6f7]), !0xddf2);
    }

    #[test]
    fn rfc_1624_section_4_example() {
        // HC = dd2f, m = 5555 changes to m' = 3285: HC' = 0000, where RFC 1141 errs.
        assert_eq!(Delta::new().word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn a_word_that_becomes_less_is_a_changed_word() {
        for (old, less) in [(0x4006, 0x0040), (0x0100, 0x0100), (0xffff, 1), (1, 1)] {
            for checksum in 0..=u16::MAX {
                let changed = Delta::new().word(old, old - less).apply(checksum);
                assert_eq!(Delta::new().less(less).apply(checksum), changed);
            }
        }
    }

    #[test]
    fn eight_words_are_four_pairs() {
        let all = [u32::MAX; 4];
        for (old, new) in [
            (all, [0; 4]),
            ([0; 4], all),
            (all, all),
            ([1, 2, 3, 4], [5, 6, 7, 8]),
        ] {
            let mut pairs = Delta::new();
            for (old, new) in old.into_iter().zip(new) {
                pairs = pairs.pair(old, new);
            }
            for checksum in 0..u16::MAX {
                let eight = Delta::new().eight(old, new);
                assert_eq!(eight.apply(checksum), pairs.apply(checksum));
            }
        }
    }

    #[test]
    fn a_known_difference_is_the_change_itself() {
        let ends = [
            ([0; 4], [1, 0, 0, 0]),
            ([7, 8, 9, u32::MAX], [1, 2, 3, 4]),
            ([5; 4], [5; 4]),
        ];
        for (one, other) in ends {
            let there = Delta::new().eight(one, other);
            let back = Delta::new().eight(other, one);
            for checksum in 0..u16::MAX {
                let known = Delta::new().known(there.folded());
                assert_eq!(known.apply(checksum), there.apply(checksum));
                let undone = Delta::new().known(!there.folded());
                assert_eq!(undone.apply(checksum), back.apply(checksum));
            }
        }
    }

    #[test]
    fn a_udp_datagram_without_a_checksum_keeps_none() {
        assert_eq!(Delta::new().word(1, 2).apply_udp(0), 0);
    }

    #[test]
    fn a_udp_checksum_that_becomes_zero_is_sent_as_ones() {
        assert_eq!(Delta::new().word(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
    }

    #[test]
    fn a_message_that_becomes_all_zeros_still_adds_up() {
        // An echo request of id 0, number 0 and zeros: type and code 0800 become 0000.
        let before = checksum(&[0x0800, 0, 0, 0]);
        assert_eq!(
            Delta::new().word(0x0800, 0).apply_nonzero(before),
            checksum(&[0; 4])
        );
    }

    proptest! {
        #[test]
        fn an_update_is_worth_a_recomputation(
            mut words in prop::collection::vec(any::<u16>(), 4..40),
            at in 0usize..3,
            new in any::<(u16, u16, u16)>(),
        ) {
            // A header never sums to plain zero: its version field isn't zero.
            words[3] |= 0x4000;
            let before = checksum(&words);
            let pair = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
            let (a, b) = (words[0], words[1]);
            let delta = Delta::new()
                .pair(pair(a, b), pair(new.0, new.1))
                .word(words[2], new.2);
            (words[0], words[1], words[2]) = new;
            let after = checksum(&words);
            prop_assert_eq!(delta.apply(before), after, "word {}", at);
        }
    }
}
