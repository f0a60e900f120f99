//! The life of a wheel's places while the set of backends changes: just enough tracking.
//!
//! A place is *stable* as long as its backend stays. When it is given to another one it is
//! *moving*: the data plane enters every flow that it meets there. Once every flow that
//! began before has shown itself or expired it is *tracked*: flows that have entries follow
//! them, and no other is entered. When no entry there leads elsewhere any more, the place is
//! stable again and its flows cost no memory. See [`Slot`] for what packets do meanwhile.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lb_common::wheel::Slot;

/// A packet on its way may still go by the wheel that was before for this long.
const GRACE: Duration = Duration::from_millis(50);

/// The places of one wheel, and how far each has come.
#[derive(Debug, Clone)]
pub struct Places {
    slots: Vec<Slot>,
    /// Since when those that are moving do.
    since: BTreeMap<u32, Instant>,
    /// When they last changed.
    changed: Instant,
}

impl Places {
    /// Those of a service whose flows are all remembered.
    #[must_use]
    pub fn stable(owners: &[u16], now: Instant) -> Self {
        Places {
            slots: owners.iter().map(|&owner| Slot::stable(owner)).collect(),
            since: BTreeMap::new(),
            changed: now,
        }
    }

    /// Those of a service that begins: the flow table may know flows of one that was here
    /// before.
    #[must_use]
    pub fn tracked(owners: &[u16], now: Instant) -> Self {
        Places {
            slots: owners.iter().map(|&owner| Slot::tracked(owner)).collect(),
            since: BTreeMap::new(),
            changed: now,
        }
    }

    /// Those that are in the maps already. Since when they have been moving nobody knows
    /// any more: they begin anew.
    #[must_use]
    pub fn found(slots: Vec<Slot>, now: Instant) -> Self {
        let moving = (0u32..).zip(&slots).filter(|(_, slot)| is_moving(**slot));
        let since = moving.map(|(place, _)| (place, now)).collect();
        Places {
            slots,
            since,
            changed: now,
        }
    }

    /// The places, as the data plane sees them.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether all are stable.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_stable())
    }

    /// Whether every packet goes by these places by now.
    #[must_use]
    pub fn is_settled(&self, now: Instant) -> bool {
        now.duration_since(self.changed) >= GRACE
    }

    /// Whether the places name a backend.
    #[must_use]
    pub fn name(&self, number: u16) -> bool {
        let names = |slot: &Slot| slot.backend() == number || slot.before() == number;
        self.slots.iter().any(names)
    }

    /// The places with new owners, all of which take new flows; without any, each place is
    /// nobody's. There are as many owners as places, or 2, 4, 8, … times as many, so that
    /// places are cut in two; any other number begins anew. `serves` tells of a backend
    /// whether it keeps the flows that it has. `None` when nothing changes.
    #[must_use]
    pub fn given(
        &self,
        owners: &[u16],
        serves: impl Fn(u16) -> bool,
        now: Instant,
    ) -> Option<Self> {
        let length = match owners.len() {
            0 => self.slots.len(),
            length => length,
        };
        let times = length / self.slots.len().max(1);
        if self.slots.is_empty() || times * self.slots.len() != length || !times.is_power_of_two() {
            return (length > 0).then(|| Places::tracked(owners, now));
        }
        let mut slots = Vec::with_capacity(length);
        let mut since = BTreeMap::new();
        for place in 0..length {
            let old = self.slots[place / times];
            let owner = owners.get(place).copied().unwrap_or(0);
            let new = next(old, owner, &serves);
            if is_moving(new) {
                let began = self.since.get(&((place / times) as u32));
                // An unknown flow is older than the first of several changes.
                let began = began.filter(|_| is_moving(old) && old.before() == new.before());
                since.insert(place as u32, began.copied().unwrap_or(now));
            }
            slots.push(new);
        }
        let after = Places {
            slots,
            since,
            changed: now,
        };
        after.unless(&self.slots)
    }

    /// The backend that a place comes to rest with, if it is on its last step: once no entry
    /// there names another one, and those that name it are gone, it can be stable. A place
    /// that is nobody's comes to rest when the backend that had it can't serve any more.
    #[must_use]
    pub fn rest(&self, place: u32, serves: impl Fn(u16) -> bool) -> Option<u16> {
        let slot = self.slots[place as usize];
        if slot.is_tracked() {
            return Some(slot.backend());
        }
        let is_left = is_moving(slot) && slot.backend() == 0 && !serves(slot.before());
        is_left.then_some(slot.before())
    }

    /// Whether time alone will bring them, or has brought them, a step further.
    #[must_use]
    pub fn is_due(&self, now: Instant, life: Duration) -> bool {
        let is_over = |since: &Instant| now.duration_since(*since) > life;
        let mut moving = self.since.iter();
        moving.any(|(&place, since)| is_over(since) && self.slots[place as usize].backend() != 0)
    }

    /// The places after time has passed. `life` is how long a flow may be silent; `is_clear`
    /// tells of a place that it can come to rest, see [`Places::rest`]. `None` when nothing
    /// changes.
    #[must_use]
    pub fn passed(
        &self,
        is_clear: impl Fn(u32) -> bool,
        life: Duration,
        now: Instant,
    ) -> Option<Self> {
        let mut after = self.clone();
        for (place, slot) in (0u32..).zip(&mut after.slots) {
            if slot.is_stable() {
                continue;
            }
            if is_clear(place) {
                *slot = Slot::stable(slot.backend());
                after.since.remove(&place);
                continue;
            }
            let began = after.since.get(&place);
            let is_over = began.is_some_and(|began| now.duration_since(*began) > life);
            if is_over && slot.backend() != 0 {
                *slot = Slot::tracked(slot.backend());
                after.since.remove(&place);
            }
        }
        after.changed = now;
        after.unless(&self.slots)
    }

    /// They, unless they are the same; no places where none leads anywhere.
    fn unless(mut self, before: &[Slot]) -> Option<Self> {
        if self.slots.iter().all(|slot| *slot == Slot::default()) {
            self.slots.clear();
        }
        (self.slots != before).then_some(self)
    }
}

/// A place that is neither stable nor tracked.
#[must_use]
pub fn is_moving(slot: Slot) -> bool {
    !slot.is_stable() && !slot.is_tracked()
}

/// What becomes of a place that is given to `owner`, or to nobody (0).
fn next(old: Slot, owner: u16, serves: &impl Fn(u16) -> bool) -> Slot {
    let (last, before) = (old.backend(), old.before());
    if is_moving(old) {
        // Unknown flows are all of the backend before; the last one's have entries.
        return match owner {
            0 => Slot::moving(0, before),
            _ if owner == before || !serves(before) => Slot::tracked(owner),
            _ => Slot::moving(owner, before),
        };
    }
    if owner == last {
        return old;
    }
    if old.is_tracked() {
        // Other backends' flows have entries, whatever becomes of the last one's.
        return match owner {
            0 => Slot::moving(0, last),
            _ if serves(last) => Slot::moving(owner, last),
            _ => Slot::tracked(owner),
        };
    }
    if last != 0 && serves(last) {
        Slot::moving(owner, last)
    } else {
        Slot::stable(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(100);

    fn all(_: u16) -> bool {
        true
    }

    fn but(gone: u16) -> impl Fn(u16) -> bool {
        move |number| number != gone
    }

    /// One place that is given to one backend after the other.
    fn after(slot: Slot, owner: u16, serves: impl Fn(u16) -> bool) -> Slot {
        next(slot, owner, &serves)
    }

    #[test]
    fn a_place_moves_from_a_backend_that_serves_and_leaves_one_that_cannot() {
        assert_eq!(after(Slot::stable(1), 2, all), Slot::moving(2, 1));
        assert_eq!(after(Slot::stable(1), 2, but(1)), Slot::stable(2));
        assert_eq!(after(Slot::tracked(1), 2, all), Slot::moving(2, 1));
        assert_eq!(after(Slot::tracked(1), 2, but(1)), Slot::tracked(2));
        assert_eq!(after(Slot::stable(1), 1, all), Slot::stable(1));
        assert_eq!(after(Slot::tracked(1), 1, all), Slot::tracked(1));
    }

    #[test]
    fn unknown_flows_stay_with_the_first_of_several_backends() {
        let moving = Slot::moving(2, 1);
        assert_eq!(after(moving, 3, all), Slot::moving(3, 1));
        assert_eq!(after(moving, 3, but(2)), Slot::moving(3, 1));
        assert_eq!(after(moving, 1, all), Slot::tracked(1));
        assert_eq!(after(moving, 3, but(1)), Slot::tracked(3));
        assert_eq!(after(moving, 2, but(1)), Slot::tracked(2));
    }

    #[test]
    fn a_place_that_is_nobodys_remembers_whose_it_was() {
        assert_eq!(after(Slot::stable(1), 0, all), Slot::moving(0, 1));
        assert_eq!(after(Slot::stable(1), 0, but(1)), Slot::stable(0));
        assert_eq!(after(Slot::tracked(1), 0, but(1)), Slot::moving(0, 1));
        assert_eq!(after(Slot::moving(2, 1), 0, all), Slot::moving(0, 1));
        assert_eq!(after(Slot::moving(0, 1), 2, all), Slot::moving(2, 1));
        assert_eq!(after(Slot::moving(0, 1), 1, all), Slot::tracked(1));
        assert_eq!(after(Slot::moving(0, 1), 2, but(1)), Slot::tracked(2));
        assert_eq!(after(Slot::stable(0), 2, all), Slot::stable(2));
    }

    #[test]
    fn time_counts_from_the_first_of_several_changes() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let places = Places::stable(&[1, 1], start);
        let places = places.given(&[2, 1], all, later(10)).unwrap();
        let places = places.given(&[3, 3], all, later(60)).unwrap();
        assert!(places.passed(|_| false, LIFE, later(110)).is_none());
        assert!(!places.is_due(later(110), LIFE) && places.is_due(later(111), LIFE));
        let places = places.passed(|_| false, LIFE, later(111)).unwrap();
        assert_eq!(places.slots(), [Slot::tracked(3), Slot::moving(3, 1)]);
        assert_eq!((places.rest(0, all), places.rest(1, all)), (Some(3), None));
        let places = places.passed(|place| place == 0, LIFE, later(111)).unwrap();
        assert_eq!(places.slots(), [Slot::stable(3), Slot::moving(3, 1)]);
        assert!(places.name(1) && !places.name(2));
    }

    #[test]
    fn places_that_are_cut_in_two_keep_their_stage() {
        let start = Instant::now();
        let places = Places::stable(&[1, 2], start);
        let places = places.given(&[2, 2], all, start).unwrap();
        let later = start + LIFE;
        let places = places.given(&[2, 3, 2, 3], all, later).unwrap();
        let moving = Slot::moving;
        assert_eq!(
            places.slots(),
            [moving(2, 1), moving(3, 1), Slot::stable(2), moving(3, 2)]
        );
        let after = later + Duration::from_secs(1);
        let places = places.passed(|_| false, LIFE, after).unwrap();
        let tracked = Slot::tracked;
        assert_eq!(
            places.slots(),
            [tracked(2), tracked(3), Slot::stable(2), moving(3, 2)]
        );
    }

    #[test]
    fn what_nobody_serves_any_more_comes_to_rest() {
        let now = Instant::now();
        let places = Places::tracked(&[1], now).given(&[], but(1), now).unwrap();
        assert_eq!(places.rest(0, all), None);
        assert_eq!(places.rest(0, but(1)), Some(1));
        assert!(!places.is_due(now + 2 * LIFE, LIFE));
        let places = places.passed(|_| true, LIFE, now).unwrap();
        assert_eq!(places.slots(), []);
    }
}
