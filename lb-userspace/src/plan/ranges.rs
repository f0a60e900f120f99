//! The port ranges of a VIP, and how its record gets from some to others.
//!
//! The record says of each of eight places which range lies there, and in one word, the
//! masks, for which protocols it counts. So a packet between any two writes finds its
//! service, the masks alone are changed, or ranges in places that don't count.

use lb_common::{
    abi::{Endpoint, Range},
    limits::MAX_VIP_RANGES,
};

const PLACES: usize = MAX_VIP_RANGES as usize;
/// All ports come last, since the first range that fits counts.
const LAST: usize = PLACES - 1;
const ALL: Range = Range {
    first: 0,
    last: u16::MAX,
};

/// A range, and whether it counts for TCP and for UDP.
pub(super) type Counted = (Range, [bool; 2]);

/// More ranges than a VIP has places for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// The records, one after the other, that lead from `vip` to one with the ranges
/// `wanted`. Each differs from the one before in its masks only, or in places that
/// count in neither; or a range grows or shrinks in its place.
pub(super) fn steps(vip: Endpoint, wanted: &[Counted]) -> Result<Vec<Endpoint>, TooMany> {
    let mut table = Table::of(&vip);
    let mut steps = Vec::new();
    let mut step = |table: &Table| {
        let next = table.record(&vip);
        if steps.last().unwrap_or(&vip) != &next {
            steps.push(next);
        }
    };
    let wants_all = wanted.iter().any(|(range, _)| *range == ALL);
    // What grows does so before others may go, and what shrinks after others have come.
    table.resize(wanted, |from, to| to.last > from.last);
    step(&table);
    let shrinking = table.resized(wanted, |from, to| to.last < from.last);
    let kept = |range: Range| {
        let found = shrinking.iter().find(|(_, to)| *to == range);
        found.map_or(range, |(from, _)| *from)
    };
    let until_then: Vec<Counted> = wanted
        .iter()
        .map(|&(r, counts)| (kept(r), counts))
        .collect();
    // One that needs the place of another that moves away takes its turn after it.
    for _ in 0..PLACES {
        let missing = table.missing(&until_then, wants_all);
        let found = table.settle(&missing, wants_all);
        step(&table);
        for &(place, counts) in &found {
            table.count(place, counts);
        }
        step(&table);
        table.strike(&until_then, wants_all);
        step(&table);
        if table.missing(&until_then, wants_all).is_empty() {
            table.resize(wanted, |_, _| true);
            step(&table);
            return Ok(steps);
        }
    }
    Err(TooMany)
}

/// A VIP's places: the ranges there, and for what they count.
struct Table([Counted; PLACES]);

impl Table {
    fn of(vip: &Endpoint) -> Self {
        Table(std::array::from_fn(|place| {
            let bits = (vip.detail[1 + place / 2] >> (place % 2 * 32)) as u32;
            let counts = [vip.tcp_ranges, vip.udp_ranges].map(|mask| mask >> place & 1 == 1);
            (Range::from_bits(bits), counts)
        }))
    }

    fn record(&self, vip: &Endpoint) -> Endpoint {
        let ranges = self.0.map(|(range, [tcp, udp])| (range, tcp, udp));
        let bare = Endpoint {
            tcp_ranges: 0,
            udp_ranges: 0,
            detail: [vip.detail[0], 0, 0, 0, 0],
            ..*vip
        };
        bare.with_ranges(&ranges)
    }

    /// Whether a range may stay in its place.
    fn suits(place: usize, range: Range, wants_all: bool) -> bool {
        place != LAST || range == ALL || !wants_all
    }

    /// The places of services whose last port is another now, as far as `which` says so:
    /// what lies there, and what is to.
    fn resized(
        &self,
        wanted: &[Counted],
        which: impl Fn(Range, Range) -> bool,
    ) -> Vec<(Range, Range)> {
        let resized = self.0.iter().filter_map(|(range, counts)| {
            let stays = wanted.iter().any(|(other, _)| other == range);
            let (other, _) = wanted.iter().find(|(other, needed)| {
                other.first == range.first && *other != ALL && needed == counts
            })?;
            let moves = !stays && counts.contains(&true) && which(*range, *other);
            moves.then_some((*range, *other))
        });
        resized.collect()
    }

    /// Gives them their new end where they lie.
    fn resize(&mut self, wanted: &[Counted], which: impl Fn(Range, Range) -> bool) {
        let resized = self.resized(wanted, which);
        for (range, counts) in &mut self.0 {
            let to = resized.iter().find(|(from, _)| from == range);
            if let Some((_, to)) = to
                && counts.contains(&true)
            {
                *range = *to;
            }
        }
    }

    fn missing(&self, wanted: &[Counted], wants_all: bool) -> Vec<Counted> {
        let counts_there = |range: Range, protocol: usize| {
            self.0.iter().enumerate().any(|(place, (there, counts))| {
                *there == range && counts[protocol] && Self::suits(place, range, wants_all)
            })
        };
        let lacks = wanted.iter().map(|&(range, counts)| {
            let lacks = |p: usize| counts[p] && !counts_there(range, p);
            (range, [lacks(0), lacks(1)])
        });
        lacks.filter(|(_, lacks)| lacks.contains(&true)).collect()
    }

    /// Writes what is missing into places that don't count, as far as there are any, and
    /// says where it will count.
    fn settle(&mut self, missing: &[Counted], wants_all: bool) -> Vec<(usize, [bool; 2])> {
        let mut found: Vec<(usize, [bool; 2])> = Vec::new();
        // All ports wait for the others: they would take what is for those.
        let (all, some): (Vec<Counted>, Vec<Counted>) =
            missing.iter().partition(|(range, _)| *range == ALL);
        let waiting = some.len();
        for (range, counts) in some.into_iter().chain(all) {
            if range == ALL && found.len() < waiting {
                break;
            }
            let may = |place: usize| match range == ALL {
                true => place == LAST,
                false => Self::suits(place, range, wants_all),
            };
            let there = |place: &usize| self.0[*place].0 == range && self.0[*place].1 != [false; 2];
            let free = |place: &usize| {
                self.0[*place].1 == [false; 2] && !found.iter().any(|(taken, _)| taken == place)
            };
            let place = (0..PLACES)
                .filter(|&place| may(place))
                .find(there)
                .or_else(|| (0..PLACES).filter(|&place| may(place)).find(free));
            if let Some(place) = place {
                self.0[place].0 = range;
                found.push((place, counts));
            }
        }
        found
    }

    fn count(&mut self, place: usize, counts: [bool; 2]) {
        for (there, more) in self.0[place].1.iter_mut().zip(counts) {
            *there |= more;
        }
    }

    /// Takes out what isn't wanted any more, or not in its place.
    fn strike(&mut self, wanted: &[Counted], wants_all: bool) {
        for (place, (range, counts)) in self.0.iter_mut().enumerate() {
            let needed = wanted.iter().find(|(other, _)| other == range);
            let needed = needed.map_or([false; 2], |(_, needed)| *needed);
            for (there, needed) in counts.iter_mut().zip(needed) {
                *there &= needed && Self::suits(place, *range, wants_all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::abi::{Family, NO_GROUP};
    use proptest::prelude::*;

    fn range(first: u16, last: u16) -> Range {
        Range { first, last }
    }

    fn vip() -> Endpoint {
        Endpoint::vip(Family::V4, [1, 0, 0, 0], NO_GROUP, None)
    }

    /// The first range of TCP that has a port, as the data plane looks for it.
    fn find(vip: &Endpoint, port: u16) -> Option<Range> {
        Table::of(vip)
            .0
            .into_iter()
            .find(|(range, counts)| counts[0] && (range.first..=range.last).contains(&port))
            .map(|(range, _)| range)
    }

    /// Every record that a reader can see while `to` is written over `from`, which are
    /// written word by word in this order.
    fn torn(from: Endpoint, to: Endpoint) -> Vec<Endpoint> {
        let mut seen = from;
        (seen.tcp_ranges, seen.udp_ranges) = (to.tcp_ranges, to.udp_ranges);
        let mut all = vec![seen];
        for word in 1..5 {
            seen.detail[word] = to.detail[word];
            all.push(seen);
        }
        assert_eq!(seen, to);
        all
    }

    fn tcp(ranges: &[Range]) -> Vec<Counted> {
        ranges.iter().map(|&range| (range, [true, false])).collect()
    }

    #[test]
    fn eight_ranges_are_replaced_by_eight_others() {
        let first: Vec<Range> = (0..8).map(|n| range(n * 100 + 1, n * 100 + 50)).collect();
        let other: Vec<Range> = (0..8).map(|n| range(n * 100 + 51, n * 100 + 99)).collect();
        let full = *steps(vip(), &tcp(&first)).unwrap().last().unwrap();
        assert_eq!(find(&full, 701), Some(range(701, 750)));
        let done = *steps(full, &tcp(&other)).unwrap().last().unwrap();
        assert_eq!(
            (find(&done, 701), find(&done, 799)),
            (None, Some(range(751, 799)))
        );
        // All ports in place of one: the range in the last place moves.
        let mut with_all = first;
        with_all[2] = ALL;
        let done = *steps(full, &tcp(&with_all)).unwrap().last().unwrap();
        assert_eq!(
            (find(&done, 701), find(&done, 201)),
            (Some(range(701, 750)), Some(ALL))
        );
        assert_eq!(Table::of(&done).0[LAST], (ALL, [true, false]));
    }

    #[test]
    fn nine_ranges_are_too_many() {
        let nine: Vec<Range> = (0..9).map(|n| range(n * 100 + 1, n * 100 + 50)).collect();
        assert_eq!(steps(vip(), &tcp(&nine)), Err(TooMany));
    }

    #[test]
    fn a_range_that_grows_is_never_absent() {
        let before = tcp(&[range(5_000, 5_999)]);
        let vip = *steps(vip(), &before).unwrap().last().unwrap();
        let steps = steps(vip, &tcp(&[range(5_000, 6_999)])).unwrap();
        assert_eq!(steps.len(), 1);
    }

    /// Ranges that don't overlap, and perhaps all ports.
    fn ranges() -> impl Strategy<Value = Vec<Counted>> {
        let one = prop::option::weighted(0.5, (1u16..8, any::<bool>(), any::<bool>()));
        let counted = prop::collection::vec(one, 7);
        (counted, any::<[bool; 2]>()).prop_map(|(ranges, all)| {
            let some = ranges.into_iter().enumerate().filter_map(|(n, one)| {
                let (length, tcp, udp) = one?;
                let first = n as u16 * 10 + 1;
                Some((range(first, first + length), [tcp, udp]))
            });
            let all = Some((ALL, all));
            // Those of two moments have places beside each other.
            some.take(3)
                .chain(all)
                .filter(|(_, counts)| counts.contains(&true))
                .collect()
        })
    }

    proptest! {
        /// Whatever word was written last, a port leads where it did before or where it
        /// will.
        #[test]
        fn no_port_is_lost_on_the_way(
            history in prop::collection::vec(ranges(), 1..6), ports in prop::collection::vec(1u16..90, 8),
        ) {
            let mut now = vip();
            for wanted in &history {
                let steps = steps(now, wanted).unwrap();
                let goal = steps.last().copied().unwrap_or(now);
                let mut seen = now;
                for step in steps {
                    for record in torn(seen, step) {
                        for &port in &ports {
                            // A range that grew is the same service's.
                            let first = |vip: &Endpoint| find(vip, port).map(|range| range.first);
                            let there = first(&record);
                            prop_assert!(there == first(&now) || there == first(&goal), "{port}");
                        }
                    }
                    seen = step;
                }
                for (range, [tcp, _]) in wanted {
                    let port = range.last;
                    prop_assert!(!tcp || find(&goal, port) == Some(*range));
                }
                let counted: usize = Table::of(&goal).0.iter().map(|(_, c)| c.iter().filter(|c| **c).count()).sum();
                let want: usize = wanted.iter().map(|(_, c)| c.iter().filter(|c| **c).count()).sum();
                prop_assert_eq!(counted, want);
                now = goal;
            }
        }
    }
}
