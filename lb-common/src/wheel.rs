//! Wheels: a scheduler is an array of backend numbers and a way to index it.

use crate::limits::MAX_WHEEL;

/// Which index of a service's wheel a new flow takes. The data plane knows no
/// more of a scheduler than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Index {
    /// One after the other, counted by each CPU for itself.
    Counter = 0,
    /// The flow's hash.
    Hash = 1,
    /// The hash of the client's address, or of its prefix.
    Source = 2,
    /// A random number.
    Random = 3,
    /// Two random numbers: of the two backends that with less load for its weight.
    Load = 4,
}

impl Index {
    /// From the byte in a record; what it doesn't know is [`Index::Counter`].
    #[must_use]
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Index::Hash,
            2 => Index::Source,
            3 => Index::Random,
            4 => Index::Load,
            _ => Index::Counter,
        }
    }

    /// Whether all packets of a flow find the same place, so that a wheel that doesn't
    /// change needs no memory of flows.
    #[must_use]
    pub const fn is_steady(self) -> bool {
        matches!(self, Index::Hash | Index::Source)
    }
}

/// One place of a wheel: the backend that has it and, while it changes hands, what becomes
/// of the flows that it had before.
///
/// A place that nobody has taken over has backend 0: what begins there is dropped.
///
/// Flows that are in the flow table follow their entry, but in a stable place, where none
/// is looked up. Services that remember every flow have stable places only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Slot(u32);

impl Slot {
    /// All packets go to `backend`.
    #[must_use]
    #[inline(always)]
    pub const fn stable(backend: u16) -> Self {
        Slot(backend as u32 | (backend as u32) << 16)
    }

    /// New connections go to `backend` and are entered in the flow table. What isn't there
    /// began before: it goes to `before`, and is entered too.
    #[must_use]
    #[inline(always)]
    pub const fn moving(backend: u16, before: u16) -> Self {
        Slot(backend as u32 | (before as u32) << 16)
    }

    /// All packets go to `backend`, but for flows that the table has with another; no flow
    /// is entered any more.
    #[must_use]
    #[inline(always)]
    pub const fn tracked(backend: u16) -> Self {
        Slot(backend as u32)
    }

    /// From the word in the map.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Slot(bits)
    }

    /// The word in the map.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The backend that has the place.
    #[must_use]
    #[inline(always)]
    pub const fn backend(self) -> u16 {
        self.0 as u16
    }

    /// The backend that had it, of a moving one; 0 of a tracked one; of a stable one the
    /// same.
    #[must_use]
    #[inline(always)]
    pub const fn before(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The backend of flows that the table doesn't know, but for those that begin now.
    #[must_use]
    #[inline(always)]
    pub const fn of_unknown(self) -> u16 {
        if self.is_tracked() {
            self.backend()
        } else {
            self.before()
        }
    }

    /// Whether it is stable.
    #[must_use]
    #[inline(always)]
    pub const fn is_stable(self) -> bool {
        self.0 as u16 == (self.0 >> 16) as u16
    }

    /// Whether it is tracked.
    #[must_use]
    #[inline(always)]
    pub const fn is_tracked(self) -> bool {
        self.before() == 0 && self.backend() != 0
    }
}

/// The length of a smooth-weighted wheel for these weights: their sum over their
/// greatest common divisor, so that each backend stands exactly as often as its
/// weight says. Sums above [`MAX_WHEEL`] are cut to it, and shares then are exact
/// to one place in the wheel.
#[must_use]
pub fn smooth_length(weights: &[u16]) -> u32 {
    let divisor = weights
        .iter()
        .fold(0, |a, &b| greatest_common_divisor(a, u32::from(b)));
    let sum: u64 = weights.iter().map(|&w| u64::from(w)).sum();
    if divisor == 0 {
        return 0;
    }
    (sum / u64::from(divisor)).min(u64::from(MAX_WHEEL)) as u32
}

/// Fills `wheel` with positions in `weights` so that each stands in proportion to
/// its weight and as evenly spaced as can be (the smooth weighted round robin of
/// nginx: each step every backend gains its weight, the richest is taken and
/// pays the sum; ties go to the earlier one).
///
/// `credit` is scratch space of the same length as `weights`.
///
/// Takes time in proportion to the product of both lengths.
pub fn fill_smooth(weights: &[u16], credit: &mut [i64], wheel: &mut [u16]) {
    // Equal weights take turns; that needs no counting.
    if weights.iter().all(|weight| *weight == weights[0]) {
        for (i, place) in wheel.iter_mut().enumerate() {
            *place = (i % weights.len()) as u16;
        }
        return;
    }
    let sum: i64 = weights.iter().map(|&w| i64::from(w)).sum();
    credit.fill(0);
    for place in wheel {
        let mut best = 0;
        for (i, &weight) in weights.iter().enumerate() {
            credit[i] += i64::from(weight);
            if credit[i] > credit[best] {
                best = i;
            }
        }
        credit[best] -= sum;
        *place = best as u16;
    }
}

const fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wheel(weights: &[u16]) -> Vec<u16> {
        let mut wheel = vec![0; smooth_length(weights) as usize];
        fill_smooth(weights, &mut vec![0; weights.len()], &mut wheel);
        wheel
    }

    #[test]
    fn equal_weights_take_turns() {
        assert_eq!(wheel(&[7, 7, 7]), [0, 1, 2]);
    }

    #[test]
    fn unequal_weights_interleave() {
        assert_eq!(wheel(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(wheel(&[6, 2]), [0, 0, 1, 0]);
    }

    #[test]
    fn no_backend_makes_an_empty_wheel() {
        assert_eq!(smooth_length(&[]), 0);
    }

    #[test]
    fn long_sums_are_cut() {
        let weights: Vec<u16> = (0..2_000).map(|i| 1 + i % 256).collect();
        assert_eq!(smooth_length(&weights), MAX_WHEEL);
    }

    proptest! {
        #[test]
        fn each_backend_stands_as_often_as_its_weight_says(
            weights in prop::collection::vec(1u16..=256, 1..12),
        ) {
            let wheel = wheel(&weights);
            let sum: u32 = weights.iter().map(|&w| u32::from(w)).sum();
            for (i, &weight) in weights.iter().enumerate() {
                let stands = wheel.iter().filter(|&&b| usize::from(b) == i).count() as u32;
                prop_assert_eq!(stands * sum, u32::from(weight) * wheel.len() as u32);
            }
        }

        /// Over any stretch from the start no backend is a whole turn away from its share.
        #[test]
        fn a_wheel_is_smooth(weights in prop::collection::vec(1u16..=64, 1..8)) {
            let wheel = wheel(&weights);
            let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            let mut stands = vec![0.0; weights.len()];
            for (n, &backend) in wheel.iter().enumerate() {
                stands[usize::from(backend)] += 1.0;
                for (i, &weight) in weights.iter().enumerate() {
                    let due = (n + 1) as f64 * f64::from(weight) / sum;
                    prop_assert!((stands[i] - due).abs() < weights.len() as f64 / 2.0 + 1.0);
                }
            }
        }
    }
}
