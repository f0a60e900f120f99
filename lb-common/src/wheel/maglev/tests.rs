use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_WHEEL;

const GOLDEN: [u64; 8] = [12, 12, 12, 13, 12, 13, 11, 11];

/// A backend: its identity and its weight.
type Backend = (u64, u16);

/// The identities that have a wheel's places.
fn wheel(backends: &[Backend], length: u32) -> Vec<u64> {
    let (identities, weights): (Vec<u64>, Vec<u16>) = backends.iter().copied().unzip();
    let mut turns = vec![Turns::default(); weights.len()];
    let mut wheel = vec![0; length as usize];
    fill_maglev(&identities, &weights, &mut turns, &mut wheel);
    wheel.iter().map(|&b| identities[usize::from(b)]).collect()
}

fn own_length(backends: &[Backend]) -> u32 {
    let weights: Vec<u16> = backends.iter().map(|backend| backend.1).collect();
    maglev_length(&weights, 0)
}

/// The greatest distance of a share from its weight, as a part of that share.
fn worst_share(backends: &[Backend], wheel: &[u64]) -> f64 {
    let mut places: HashMap<u64, u32> = HashMap::new();
    for owner in wheel {
        *places.entry(*owner).or_default() += 1;
    }
    let sum: f64 = backends.iter().map(|b| f64::from(b.1)).sum();
    let off = |(identity, weight): &Backend| {
        let due = wheel.len() as f64 * f64::from(*weight) / sum;
        let has = places.get(identity).copied().unwrap_or(0);
        (f64::from(has) - due).abs() / due
    };
    backends.iter().map(off).fold(0.0, f64::max)
}

/// The part of the other backends' places that move when one goes.
fn disturbed(backends: &[Backend], gone: usize, length: u32) -> f64 {
    let before = wheel(backends, length);
    let mut fewer = backends.to_vec();
    let (gone, _) = fewer.remove(gone);
    let after = wheel(&fewer, length);
    let others = before.iter().zip(&after).filter(|(b, _)| **b != gone);
    let (all, moved) = others.fold((0, 0), |(all, moved), (b, a)| {
        (all + 1, moved + u32::from(a != b))
    });
    f64::from(moved) / f64::from(all)
}

fn equal(identities: impl IntoIterator<Item = u64>) -> Vec<Backend> {
    identities.into_iter().map(|one| (one, 1)).collect()
}

#[test]
fn lengths_are_doubled_until_each_backend_has_a_hundred_places() {
    assert_eq!(maglev_length(&[], 0), 0);
    assert_eq!(maglev_length(&[256], 0), 1_021);
    assert_eq!(maglev_length(&[1; 10], 0), 1_021);
    assert_eq!(maglev_length(&[1; 11], 0), 2_042);
    assert_eq!(maglev_length(&[10, 1], 0), 2_042);
    assert_eq!(maglev_length(&[100, 10], 0), 2_042);
    assert_eq!(maglev_length(&[1; 653], 0), 65_344);
    assert_eq!(maglev_length(&[1; 65_535], 0), 65_344);
    assert_eq!(maglev_length(&[1; 16], 0), 2_042);
    assert_eq!(maglev_length(&[1; 16], 1), 1_021);
    assert_eq!(maglev_length(&[1; 653], 3), 8_168);
    assert_eq!(maglev_length(&[1; 653], 9), 1_021);
    assert_eq!(maglev_length(&[1; 1_500], 16), 2_042);
}

#[test]
fn nobody_has_no_place() {
    let mut wheel = [7; 3];
    fill_maglev(&[], &[], &mut [], &mut wheel);
    assert_eq!(wheel, [7; 3]);
    fill_maglev(&[1], &[1], &mut [Turns::default()], &mut []);
}

#[test]
fn more_backends_than_places_leave_some_without() {
    let backends = equal(0..2_000);
    let wheel = wheel(&backends, SHORTEST);
    let different: BTreeSet<u64> = wheel.into_iter().collect();
    assert_eq!(different.len(), SHORTEST as usize);
}

/// A wheel that others have made is found again: nodes of a cluster agree, and a new
/// version doesn't move connections.
#[test]
fn places_are_the_same_in_every_version() {
    let wheel = wheel(&[(11, 1), (12, 2), (13, 1)], 8);
    assert_eq!(wheel, GOLDEN);
}

/// Backends of one service, of few or many weights, and which of them goes.
fn service() -> impl Strategy<Value = (Vec<Backend>, usize)> {
    let heaviest = prop::sample::select(vec![1u16, 4, 256]);
    let backends = heaviest
        .prop_flat_map(|heaviest| prop::collection::btree_map(any::<u64>(), 1..=heaviest, 2..120));
    let backends = backends.prop_map(|all| all.into_iter().collect::<Vec<_>>());
    (backends, any::<prop::sample::Index>()).prop_map(|(backends, gone)| {
        let gone = gone.index(backends.len());
        (backends, gone)
    })
}

/// Whether the least of them has a hundred places.
fn has_room(backends: &[Backend], length: u32) -> bool {
    let sum: u64 = backends.iter().map(|b| u64::from(b.1)).sum();
    let least = backends.iter().map(|b| u64::from(b.1)).min();
    sum * FEWEST <= u64::from(length) * least.unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shares_are_within_one_per_cent_of_the_weights((backends, _) in service()) {
        for length in [MAX_WHEEL, own_length(&backends)] {
            if has_room(&backends, length) {
                let worst = worst_share(&backends, &wheel(&backends, length));
                prop_assert!(worst <= 0.01, "{worst} of {length}");
            }
        }
    }

    #[test]
    fn few_places_of_the_others_move_when_one_goes((backends, gone) in service()) {
        let moved = disturbed(&backends, gone, MAX_WHEEL);
        prop_assert!(moved <= 0.02, "{moved}");
    }

    #[test]
    fn the_order_of_backends_does_not_matter((mut backends, first) in service()) {
        let length = own_length(&backends);
        let before = wheel(&backends, length);
        backends.rotate_left(first);
        prop_assert_eq!(&wheel(&backends, length), &before);
        backends.reverse();
        prop_assert_eq!(&wheel(&backends, length), &before);
    }
}

/// The shortest wheels are a matter of luck: there one place is 1 % of the least share.
#[test]
fn few_places_move_on_average_in_the_shortest_wheels() {
    for backends in [3, 5, 10, 11, 20, 41, 100, 300] {
        let rounds = 20;
        let moved = (0..rounds).map(|round| {
            let all = equal((0..backends).map(|n| hash::mix(round << 32 | n)));
            disturbed(&all, 0, own_length(&all))
        });
        let mean = moved.sum::<f64>() / rounds as f64;
        assert!(mean <= 0.02, "{mean} with {backends}");
    }
}

#[test]
fn a_share_of_less_than_a_place_is_one() {
    let mut backends: Vec<Backend> = (1..=8).map(|one| (one, 256)).collect();
    backends.extend((9..=16).map(|one| (one, 1)));
    let owners = wheel(&backends, 1_021);
    for one in 9..=16 {
        assert_eq!(owners.iter().filter(|owner| **owner == one).count(), 1);
    }
    // More backends than places: as many have one as there are.
    let many = equal(1..=1_100);
    let had: BTreeSet<u64> = wheel(&many, 1_021).into_iter().collect();
    assert_eq!(had.len(), 1_021);
}
