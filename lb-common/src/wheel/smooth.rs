//! Wheels whose backends take turns, as evenly interleaved as can be.

use crate::limits::MAX_WHEEL;

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
