//! Wheels whose backends take turns, as evenly interleaved as can be.

use crate::limits::MAX_WHEEL;

/// How far backends of one weight are with a wheel that is being filled, and which of the
/// same weight comes after the backend at this position: scratch space for [`fill_smooth`],
/// which doesn't look at what is in it before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Class {
    weight: u16,
    /// Whose turn is next.
    head: u16,
    /// Who comes after the backend at this position; the first one after the last.
    next: u16,
    credit: i64,
}

/// The length of a smooth-weighted wheel for these weights in which each backend stands
/// exactly as often as its weight says: their sum over their greatest common divisor. At
/// most [`MAX_WHEEL`], and halved `halvings` times, as far as each backend still has a place;
/// shares then are exact to about one place, see [`apportion`]. 0 without backends.
#[must_use]
pub fn smooth_length(weights: &[u16], halvings: u8) -> u32 {
    let exact = exact_length(weights).min(u64::from(MAX_WHEEL)) as u32;
    let shortest = exact.min(weights.len() as u32);
    (exact >> halvings.min(31)).max(shortest)
}

fn exact_length(weights: &[u16]) -> u64 {
    let divisor = weights
        .iter()
        .fold(0, |a, &b| greatest_common_divisor(a, u32::from(b)));
    let sum: u64 = weights.iter().map(|&w| u64::from(w)).sum();
    match divisor {
        0 => 0,
        divisor => sum / u64::from(divisor),
    }
}

/// Weights for a wheel of `length` places that is too short for these to be exact: how many
/// places each backend gets. That is one at least, and its share, rounded up or down, of
/// those that are left by such as have no more than one. Weights that are exact in it stay
/// as they are.
///
/// `counts` is as long as `weights`, and `length` not less.
pub fn apportion(weights: &[u16], length: u32, counts: &mut [u16]) {
    counts.copy_from_slice(weights);
    if u64::from(length) >= exact_length(weights) {
        return;
    }
    counts.fill(0);
    let (mut rest, mut sum) = (u64::from(length), total(weights));
    loop {
        let (before, whole) = (rest, sum);
        for (count, &weight) in counts.iter_mut().zip(weights) {
            if *count == 0 && before * u64::from(weight) < whole {
                *count = 1;
                rest -= 1;
                sum -= u64::from(weight);
            }
        }
        if rest == before {
            break;
        }
    }
    let mut spare = rest;
    let lost = |weight: u16| rest * u64::from(weight) % sum;
    let is_open = |weight: u16| rest * u64::from(weight) >= sum;
    for (count, &weight) in counts.iter_mut().zip(weights) {
        if *count == 0 {
            *count = (rest * u64::from(weight) / sum) as u16;
            spare -= u64::from(*count);
        }
    }
    // Those of one weight lose the same.
    let mut below = u64::MAX;
    while spare > 0 {
        let open = weights.iter().filter(|weight| is_open(**weight));
        let most = open.map(|&weight| lost(weight));
        let Some(most) = most.filter(|&lost| lost < below).max() else {
            return;
        };
        for (count, &weight) in counts.iter_mut().zip(weights) {
            if spare > 0 && is_open(weight) && lost(weight) == most {
                *count += 1;
                spare -= 1;
            }
        }
        below = most;
    }
}

/// Fills `wheel` with positions in `weights` so that each stands in proportion to
/// its weight and as evenly spaced as can be (the smooth weighted round robin of
/// nginx: each step every backend gains its weight, the richest is taken and
/// pays the sum; ties go to the earlier one).
///
/// Backends of one weight take turns in their order, so only one of each weight is to be
/// looked at. `classes` is scratch space of the same length as `weights`.
///
/// Takes time in proportion to the product of the wheel's length and the number of different
/// weights.
pub fn fill_smooth(weights: &[u16], classes: &mut [Class], wheel: &mut [u16]) {
    let sum = total(weights).cast_signed();
    let different = classify(weights, classes);
    for place in wheel {
        let mut best = 0;
        for at in 0..different {
            classes[at].credit += i64::from(classes[at].weight);
            let (one, other) = (&classes[at], &classes[best]);
            if one.credit > other.credit || one.credit == other.credit && one.head < other.head {
                best = at;
            }
        }
        let head = classes[best].head;
        let next = classes[usize::from(head)].next;
        classes[best].head = next;
        // Who paid is as rich as the others of its weight again once all have.
        if next <= head {
            classes[best].credit -= sum;
        }
        *place = head;
    }
}

/// Puts the different weights at the beginning of `classes`, and says how many there are.
fn classify(weights: &[u16], classes: &mut [Class]) -> usize {
    let mut different = 0;
    for (position, &weight) in weights.iter().enumerate().rev() {
        let known = classes[..different]
            .iter()
            .position(|class| class.weight == weight);
        let at = known.unwrap_or(different);
        different = different.max(at + 1);
        let (class, position) = (&mut classes[at], position as u16);
        let next = match known {
            Some(_) => class.head,
            None => position,
        };
        (class.weight, class.head, class.credit) = (weight, position, 0);
        classes[usize::from(position)].next = next;
    }
    // The last of each weight leads back to the first.
    for position in 0..weights.len() {
        let next = classes[position].next;
        if usize::from(next) == position {
            let same = |class: &&Class| class.weight == weights[position];
            let first = classes[..different].iter().find(same);
            classes[position].next = first.map_or(next, |class| class.head);
        }
    }
    different
}

fn total(weights: &[u16]) -> u64 {
    weights.iter().map(|&weight| u64::from(weight)).sum()
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
        let mut wheel = vec![0; smooth_length(weights, 0) as usize];
        fill_smooth(weights, &mut classes(weights), &mut wheel);
        wheel
    }

    fn classes(weights: &[u16]) -> Vec<Class> {
        vec![Class::default(); weights.len()]
    }

    fn counts(weights: &[u16], length: u32) -> Vec<u16> {
        let mut counts = vec![0; weights.len()];
        apportion(weights, length, &mut counts);
        counts
    }

    /// What it is by definition.
    fn by_definition(weights: &[u16], length: usize) -> Vec<u16> {
        let sum: i64 = weights.iter().map(|&w| i64::from(w)).sum();
        let mut credit = vec![0; weights.len()];
        let mut wheel = Vec::new();
        for _ in 0..length {
            let mut best = 0;
            for (i, &weight) in weights.iter().enumerate() {
                credit[i] += i64::from(weight);
                if credit[i] > credit[best] {
                    best = i;
                }
            }
            credit[best] -= sum;
            wheel.push(best as u16);
        }
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
        assert_eq!(smooth_length(&[], 0), 0);
        assert_eq!(smooth_length(&[], 3), 0);
    }

    #[test]
    fn long_sums_are_cut() {
        let weights: Vec<u16> = (0..2_000).map(|i| 1 + i % 256).collect();
        assert_eq!(smooth_length(&weights, 0), MAX_WHEEL);
        assert_eq!(smooth_length(&weights, 1), MAX_WHEEL / 2);
        assert_eq!(smooth_length(&weights, 6), 2_000);
    }

    #[test]
    fn wheels_that_are_too_short_are_shared_out() {
        assert_eq!(counts(&[3, 2], 5), [3, 2]);
        assert_eq!(counts(&[6, 4], 5), [6, 4]);
        assert_eq!(counts(&[100, 1], 10), [9, 1]);
        assert_eq!(counts(&[256, 1, 1, 1], 4), [1, 1, 1, 1]);
        assert_eq!(counts(&[50, 30, 21], 10), [5, 3, 2]);
    }

    /// Backends of one weight are counted once, however many there are.
    #[test]
    fn a_long_wheel_of_many_backends_takes_no_time() {
        let weights: Vec<u16> = (0..60_000).map(|i| 1 + i % 3).collect();
        let length = smooth_length(&weights, 0);
        let mut wheel = vec![0; length as usize];
        let mut classes = classes(&weights);
        assert_eq!(classify(&weights, &mut classes), 3);
        let counts = counts(&weights, length);
        fill_smooth(&counts, &mut classes, &mut wheel);
        let mut stands = vec![0u16; weights.len()];
        wheel.iter().for_each(|&b| stands[usize::from(b)] += 1);
        assert_eq!(stands, counts);
    }

    proptest! {
        #[test]
        fn turns_by_weight_are_the_turns_of_each(
            weights in prop::collection::vec(1u16..=9, 1..40), length in 1usize..200,
        ) {
            let mut wheel = vec![0; length];
            fill_smooth(&weights, &mut classes(&weights), &mut wheel);
            prop_assert_eq!(wheel, by_definition(&weights, length));
        }

        #[test]
        fn all_places_are_shared_out_and_each_backend_has_one(
            weights in prop::collection::vec(1u16..=256, 1..60), more in 0u32..400,
        ) {
            let length = weights.len() as u32 + more;
            let exact = exact_length(&weights);
            let counts = counts(&weights, length);
            if exact > u64::from(length) {
                prop_assert_eq!(total(&counts), u64::from(length));
                prop_assert!(counts.iter().all(|&count| count > 0));
                for (i, j) in (1..weights.len()).map(|i| (i - 1, i)) {
                    let in_order = weights[i].cmp(&weights[j]);
                    prop_assert!(counts[i] == counts[j] || counts[i].cmp(&counts[j]) == in_order
                        || weights[i] == weights[j] && counts[i].abs_diff(counts[j]) == 1);
                }
            }
        }

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
