//! Wheels that flows find by their hash: when a backend comes or goes, the places of the
//! others stay where they are, but for a few.
//!
//! They are filled as in Maglev (Eisenbud et al., "Maglev: A Fast and Reliable Software
//! Network Load Balancer", 2016, section 3.4): backends take turns at places, each in an
//! order of its own. Two things are different. A turn that finds its place taken is over,
//! where in Maglev it goes on to the next place: so a place that one loses isn't made up for
//! by another that somebody else counted on, and half as many move. And as backends have
//! looked at more places, their turns become rarer, at a rate of weight times places not
//! looked at: so each is as often first at a place as its weight says, and the limits that
//! make shares exact have little to correct.

use crate::hash;
#[cfg(doc)]
use crate::limits::MAX_WEIGHT;

/// The shortest wheel: a prime.
const SHORTEST: u32 = 1_021;

/// How often it is doubled at most.
const DOUBLINGS: u32 = 6;

/// Places that the backend with the smallest share has at least, so that no share is
/// further than 1 % from its weight for being a whole number.
const FEWEST: u64 = 100;

/// A place that nobody has taken yet: one more than the positions of the most backends.
const NOBODY: u16 = u16::MAX;

/// How far a backend is with a wheel that is being filled: scratch space for
/// [`fill_maglev`], which doesn't look at what is in it before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turns {
    identity: u64,
    /// Its position.
    backend: u16,
    weight: u16,
    /// Places that it has yet to take.
    left: u32,
    /// Places that it has yet to look at.
    unseen: u32,
    /// What it has saved for its next turn.
    credit: u64,
    /// Where it is in its order of places, and what makes that order its own.
    at: u32,
    factor: u32,
    shift: u32,
    stir: u32,
}

/// The length of the wheel for backends with these weights: one of 1,021 · 2^k (k = 0 to
/// 6), the least in which each has 100 places, else the longest of them. Each of `halvings`
/// makes that half as many places, so that shares are up to 2 %, 4 % … from their weights,
/// and below one place halves the wheel, as far as there still is one for each. 0 without
/// backends.
///
/// When the length doubles, place `j` of the new wheel takes the hashes of place `j / 2`
/// of the old one.
#[must_use]
pub fn maglev_length(weights: &[u16], halvings: u8) -> u32 {
    let Some(&least) = weights.iter().min() else {
        return 0;
    };
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let wanted = (sum * FEWEST).div_ceil(u64::from(least).max(1));
    let wanted = (wanted >> halvings.min(63)).max(weights.len() as u64);
    let enough = |length: &u32| u64::from(*length) >= wanted;
    let mut lengths = (0..=DOUBLINGS).map(|doublings| SHORTEST << doublings);
    lengths.find(enough).unwrap_or(SHORTEST << DOUBLINGS)
}

/// Fills `wheel` with positions in `identities` and `weights`, so that each has its share
/// of the places, rounded up or down.
///
/// An identity is a number that belongs to a backend wherever it stands, and no two are
/// the same: the same backends get the same places, whatever their order. Weights are 1 to
/// [`MAX_WEIGHT`].
///
/// `turns` is scratch space. The first three slices are of one length, below 65,536; with
/// none, `wheel` is left as it is.
///
/// Takes time in proportion to the length of `wheel` times its logarithm, about.
pub fn fill_maglev(identities: &[u64], weights: &[u16], turns: &mut [Turns], wheel: &mut [u16]) {
    let length = wheel.len() as u32;
    let heaviest = weights.iter().max().copied().unwrap_or(0);
    if length == 0 || heaviest == 0 {
        return;
    }
    // What a turn costs. A pass brings the quickest backend half of it or more.
    let price = u64::from(heaviest) * u64::from(length);
    let backends = identities.iter().zip(weights).zip(turns.iter_mut());
    for (position, ((&identity, &weight), turns)) in backends.enumerate() {
        *turns = Turns::of(identity, position as u16, weight, length);
        turns.credit = price / 2;
    }
    turns.sort_unstable_by_key(|turns| turns.identity);
    limit(turns, length);
    wheel.fill(NOBODY);
    let (mut live, mut doubled) = (turns.len(), 0);
    while live > 0 {
        let mut quickest = 0;
        let mut kept = 0;
        for at in 0..live {
            let one = &mut turns[at];
            let gain = u64::from(one.weight) * u64::from(one.unseen);
            one.credit += gain << doubled;
            if one.credit >= price && one.left > 0 {
                one.credit -= price;
                let place = one.look(length);
                if wheel[place] == NOBODY {
                    wheel[place] = one.backend;
                    one.left -= 1;
                }
            }
            if one.left > 0 {
                quickest = gain.max(quickest);
                turns[kept] = turns[at];
                kept += 1;
            }
        }
        live = kept;
        while quickest > 0 && quickest << (doubled + 1) <= price {
            doubled += 1;
        }
    }
}

/// Gives each backend the number of its places: its share rounded down, and one more to
/// those that lose most by that. Those whose share is less than one place have one all the
/// same, if there is one for each.
fn limit(turns: &mut [Turns], length: u32) {
    let (mut spare, mut sum) = (u64::from(length), 0);
    for turns in turns.iter() {
        sum += u64::from(turns.weight);
    }
    let mut before = u64::MAX;
    while turns.len() <= length as usize && spare < before {
        before = spare;
        let whole = sum;
        for turns in turns.iter_mut().filter(|turns| turns.left == 0) {
            if before * u64::from(turns.weight) < whole {
                turns.left = 1;
                spare -= 1;
                sum -= u64::from(turns.weight);
            }
        }
    }
    let rest = spare;
    let exact = |turns: &Turns| rest * u64::from(turns.weight);
    for turns in turns.iter_mut().filter(|turns| turns.left == 0) {
        turns.left = (exact(turns) / sum) as u32;
        spare -= u64::from(turns.left);
    }
    // Those of one weight lose the same.
    let has_rest = |turns: &Turns| turns.left == 0 || exact(turns) >= sum;
    let mut below = u64::MAX;
    while spare > 0 {
        let open = turns.iter().filter(|turns| has_rest(turns));
        let lost = open.map(|turns| exact(turns) % sum);
        let Some(most) = lost.filter(|&lost| lost < below).max() else {
            return;
        };
        for turns in turns.iter_mut().filter(|turns| has_rest(turns)) {
            if spare > 0 && exact(turns) % sum == most {
                turns.left += 1;
                spare -= 1;
            }
        }
        below = most;
    }
}

impl Turns {
    fn of(identity: u64, backend: u16, weight: u16, length: u32) -> Self {
        let start = hash::mix(identity);
        let steps = hash::mix(start ^ identity.rotate_left(32));
        Turns {
            identity,
            backend,
            weight,
            left: 0,
            unseen: length,
            credit: 0,
            at: start as u32,
            factor: (start >> 32) as u32 & !7 | 5,
            shift: steps as u32 | 1,
            stir: (steps >> 32) as u32 | 1,
        }
    }

    /// The next place in its order: a full-period generator (Hull and Dobell, 1962) of the
    /// numbers below a power of two, which are then stirred, as the generators of two
    /// backends are too much alike; those beyond the wheel are passed over.
    fn look(&mut self, length: u32) -> usize {
        let bits = (length - 1).max(1).ilog2() + 1;
        let mask = (1 << bits) - 1;
        self.unseen -= 1;
        loop {
            self.at = self.at.wrapping_mul(self.factor).wrapping_add(self.shift) & mask;
            let place = self.at ^ self.at >> (bits / 2);
            let place = place.wrapping_mul(self.stir) & mask;
            let place = place ^ place >> (bits / 2);
            if place < length {
                return place as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests;
