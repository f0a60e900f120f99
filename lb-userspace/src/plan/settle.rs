//! What time, and a look at the flow table, do to the places of wheels.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::{
    abi::Keeping,
    flow::{Entry, FINGERPRINT_BITS},
    hash,
    wheel::Index,
};

use super::{Model, Places, Plan, Planner, ServiceKey};
use crate::config::model::{Protocol, Timeouts};

/// How long flows may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lives {
    /// Established TCP connections.
    pub tcp: Duration,
    /// UDP flows.
    pub udp: Duration,
}

impl From<&Timeouts> for Lives {
    fn from(timeouts: &Timeouts) -> Self {
        Lives {
            tcp: timeouts.established,
            // The first datagram of a flow leaves it in the state that a SYN does.
            udp: timeouts.syn.max(timeouts.udp),
        }
    }
}

impl Lives {
    fn of(self, protocol: Protocol) -> Duration {
        match protocol {
            Protocol::Tcp => self.tcp,
            Protocol::Udp => self.udp,
        }
    }
}

/// A service with places that aren't stable, as a scan of the flow table needs to know it.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The service.
    pub key: ServiceKey,
    /// Numbers of its backends, and of those that were.
    pub numbers: Vec<u16>,
    index: Index,
    places: Arc<Places>,
    /// The backend that each place comes to rest with; 0 while it doesn't.
    rests: Vec<u16>,
    /// That of all its places which aren't stable, if it is one.
    only: Option<u16>,
}

/// What a scan has seen of a watched service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether the place has entries that stay.
    kept: Vec<bool>,
}

impl Watch {
    /// Nothing seen.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen {
            kept: vec![false; self.rests.len()],
        }
    }

    /// Whether an entry of the service may lie in a place that isn't stable. There flows are
    /// taken for older ones, so one that has begun is remembered for as long as an
    /// established one, however little was seen of it.
    #[must_use]
    pub fn lingers(&self, entry: Entry) -> bool {
        self.place(entry)
            .is_none_or(|place| !self.places.slots()[place].is_stable())
    }

    /// Whether an entry of the service says no more than its place does by itself, so that
    /// it can go.
    #[must_use]
    pub fn is_needless(&self, entry: Entry) -> bool {
        let rest = match self.place(entry) {
            Some(place) => self.rests[place],
            // It may lie in any of them.
            None => self.only.unwrap_or(0),
        };
        rest != 0 && entry.backend() == rest
    }

    /// Notes an entry of the service that stays: its place can't come to rest.
    pub fn note(&self, entry: Entry, seen: &mut Seen) {
        match self.place(entry) {
            Some(place) => seen.kept[place] = true,
            None => seen.kept.fill(true),
        }
    }

    /// The place of an entry, if the entry tells.
    fn place(&self, entry: Entry) -> Option<usize> {
        let fingerprint = entry.bits() >> (64 - FINGERPRINT_BITS);
        let length = self.rests.len() as u32;
        (self.index == Index::Hash).then(|| hash::reduce(fingerprint, length) as usize)
    }
}

impl Model {
    /// The services of which a scan of the flow table that begins `now` is to tell
    /// something.
    #[must_use]
    pub fn watches(&self, now: Instant) -> Vec<Watch> {
        let changing = self
            .services
            .iter()
            .filter(|(_, placed)| placed.keeping == Keeping::Changes && !placed.places.is_stable());
        let mut watches: Vec<Watch> = changing
            .map(|(&key, placed)| {
                let places = Arc::clone(&placed.places);
                let length = places.slots().len() as u32;
                let rest = |place| places.rest(place, |number| self.serves(number));
                // Packets on their way may still enter flows.
                let is_settled = places.is_settled(now);
                let rests: Vec<u16> = (0..length)
                    .map(|place| rest(place).filter(|_| is_settled).unwrap_or(0))
                    .collect();
                Watch {
                    key,
                    numbers: Vec::new(),
                    index: placed.index,
                    only: only(&places, &rests),
                    places,
                    rests,
                }
            })
            .collect();
        for (id, number) in self.numbers() {
            if let Ok(at) = watches.binary_search_by_key(&id.service, |watch| watch.key) {
                watches[at].numbers.push(number);
            }
        }
        watches
    }
}

fn only(places: &Places, rests: &[u16]) -> Option<u16> {
    let changing = places.slots().iter().zip(rests);
    let mut changing = changing.filter(|(slot, _)| !slot.is_stable());
    let (_, &first) = changing.next()?;
    (first != 0 && changing.all(|(_, &rest)| rest == first)).then_some(first)
}

/// Plans what time and a scan have changed: places a step further, and wheels that say so.
/// What a scan has seen of a service whose places have changed meanwhile doesn't count.
/// A wheel without room waits for the next time. `None` when nothing changes.
#[must_use]
pub fn settle(
    model: &Model,
    scanned: &[(Watch, Seen)],
    lives: Lives,
    now: Instant,
) -> Option<Plan> {
    let mut changed = Vec::new();
    for (key, placed) in &model.services {
        let life = lives.of(key.protocol);
        let found = scanned.binary_search_by_key(key, |(watch, _)| watch.key);
        let found = found.ok().map(|at| &scanned[at]);
        let found = found.filter(|(watch, _)| Arc::ptr_eq(&watch.places, &placed.places));
        if found.is_none() && !placed.places.is_due(now, life) {
            continue;
        }
        let is_clear = |place: u32| {
            found.is_some_and(|(watch, seen)| {
                watch.rests[place as usize] != 0 && !seen.kept[place as usize]
            })
        };
        if let Some(places) = placed.places.passed(is_clear, life, now) {
            let mut placed = placed.clone();
            placed.places = Arc::new(places);
            changed.push((*key, placed));
        }
    }
    if changed.is_empty() {
        return None;
    }
    let mut planner = Planner::new(model.clone(), now);
    for (key, placed) in changed {
        // Without room it stays as it is.
        let _ = planner.turn(key, placed);
    }
    Some(planner.done())
}
