//! Schedulers: how new connections are spread. The only place in userspace that tells one
//! from another.

use std::fmt;

use lb_common::{
    abi::Keeping,
    limits::MAX_WHEEL,
    wheel::{self, Class, Index, Turns},
};
use serde::{Deserialize, Serialize};

use crate::config::model::Forward;

/// How new connections are spread over a service's backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// Each backend in turn; weights are ignored (and refused unless all are 1).
    #[default]
    RoundRobin,
    /// Each backend in turn, in proportion to its weight, smoothly interleaved.
    WeightedRoundRobin,
    /// By a hash of the connection: each node of a cluster chooses the same backend, and
    /// few connections would get another when one comes or goes.
    Maglev,
    /// By a hash of the client's address, or of the network it is in.
    Source,
    /// Of two backends at random, that which has fewer flows for its weight.
    LeastConnections,
    /// At random.
    Random,
}

impl Scheduler {
    /// Every scheduler beside its name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("round-robin", Self::RoundRobin),
        ("weighted-round-robin", Self::WeightedRoundRobin),
        ("maglev", Self::Maglev),
        ("source", Self::Source),
        ("least-connections", Self::LeastConnections),
        ("random", Self::Random),
    ];

    /// Its name in the configuration and on the screen.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::ALL.into_iter().find(|(_, one)| *one == self);
        named.map_or("unknown", |(name, _)| name)
    }

    /// How the data plane indexes the wheel.
    #[must_use]
    pub const fn index(self) -> Index {
        match self {
            Self::RoundRobin | Self::WeightedRoundRobin => Index::Counter,
            Self::Maglev => Index::Hash,
            Self::Source => Index::Source,
            Self::LeastConnections => Index::Load,
            Self::Random => Index::Random,
        }
    }

    /// Whether a backend's share depends on its weight.
    #[must_use]
    pub const fn heeds_weights(self) -> bool {
        !matches!(self, Self::RoundRobin)
    }

    /// Whether it can be told how much of a client's address to look at.
    #[must_use]
    pub const fn has_prefix(self) -> bool {
        matches!(self.index(), Index::Source)
    }

    /// Where the flows of a service that forwards like this are kept. A wheel that packets
    /// find their place in by themselves needs no memory of flows, but answers that come
    /// back through us do.
    #[must_use]
    pub const fn keeping(self, forward: Forward) -> Keeping {
        match forward {
            Forward::FullNat => Keeping::Ports,
            Forward::Dsr | Forward::Tunnel(_) if self.index().is_steady() => Keeping::Changes,
            Forward::Dsr | Forward::Tunnel(_) | Forward::Nat => Keeping::Flows,
        }
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// A backend that is to stand in a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Its number.
    pub number: u16,
    /// Its share beside the others', 1–256.
    pub weight: u16,
    /// What tells it apart on every node and after every restart; no two have the same.
    pub identity: u64,
}

/// How a wheel is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// As often as the weight says, smoothly interleaved.
    Smooth,
    /// So that few places change hands when a backend comes or goes.
    Maglev,
    /// Each backend once; its weight is in its [`lb_common::abi::Load`].
    Once,
}

impl Fill {
    /// What an index finds a backend's share by.
    #[must_use]
    pub const fn of(index: Index) -> Self {
        match index {
            Index::Counter | Index::Random => Self::Smooth,
            Index::Hash | Index::Source => Self::Maglev,
            Index::Load => Self::Once,
        }
    }

    /// The length of the wheel over backends with these weights; 0 without any. It is that
    /// with which shares are as they should be, halved `halvings` times, as far as each
    /// backend still has a place.
    #[must_use]
    pub fn length(self, weights: &[u16], halvings: u8) -> u32 {
        match self {
            Self::Smooth => wheel::smooth_length(weights, halvings),
            Self::Maglev => wheel::maglev_length(weights, halvings),
            Self::Once => (weights.len() as u32).min(MAX_WHEEL),
        }
    }

    /// The number of the backend that has each of `length` places; none without backends.
    #[must_use]
    pub fn owners(self, shares: &[Share], length: u32) -> Vec<u16> {
        if shares.is_empty() {
            return Vec::new();
        }
        let weights: Vec<u16> = shares.iter().map(|share| share.weight).collect();
        let mut wheel = vec![0; length as usize];
        match self {
            Self::Smooth => {
                let mut counts = vec![0; weights.len()];
                wheel::apportion(&weights, length, &mut counts);
                wheel::fill_smooth(
                    &counts,
                    &mut vec![Class::default(); shares.len()],
                    &mut wheel,
                );
            }
            Self::Maglev => {
                let identities: Vec<u64> = shares.iter().map(|share| share.identity).collect();
                let mut turns = vec![Turns::default(); shares.len()];
                wheel::fill_maglev(&identities, &weights, &mut turns, &mut wheel);
            }
            Self::Once => {
                for (place, position) in wheel.iter_mut().enumerate() {
                    *position = (place % shares.len()) as u16;
                }
            }
        }
        for place in &mut wheel {
            *place = shares[usize::from(*place)].number;
        }
        wheel
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Encapsulation;

    #[test]
    fn names_are_the_same_everywhere() {
        for (name, scheduler) in Scheduler::ALL {
            assert_eq!(scheduler.name(), name);
            let json = serde_json::to_string(&scheduler).expect("a string");
            assert_eq!(json, format!("\"{name}\""));
        }
    }

    #[test]
    fn flows_are_forgotten_where_every_packet_finds_its_place() {
        let of = |scheduler: Scheduler| {
            let tunnel = Forward::Tunnel(Encapsulation::Ipip);
            [Forward::Dsr, tunnel, Forward::Nat, Forward::FullNat]
                .map(|forward| scheduler.keeping(forward))
        };
        use Keeping::{Changes, Flows, Ports};
        for (_, scheduler) in Scheduler::ALL {
            let want = match scheduler {
                Scheduler::Maglev | Scheduler::Source => [Changes, Changes, Flows, Ports],
                _ => [Flows, Flows, Flows, Ports],
            };
            assert_eq!(of(scheduler), want, "{scheduler}");
        }
    }

    #[test]
    fn wheels_name_backends_by_their_numbers() {
        let share = |number, weight| Share {
            number,
            weight,
            identity: u64::from(number),
        };
        let shares = [share(7, 1), share(9, 2)];
        assert_eq!(Fill::Smooth.owners(&shares, 3), [9, 7, 9]);
        assert_eq!(
            Fill::Once.owners(&shares, Fill::Once.length(&[1, 2], 0)),
            [7, 9]
        );
        let maglev = Fill::Maglev.owners(&shares, Fill::Maglev.length(&[1, 2], 0));
        assert_eq!(maglev.iter().filter(|&&number| number == 7).count(), 340);
        assert_eq!(maglev.iter().filter(|&&number| number == 9).count(), 681);
        for fill in [Fill::Smooth, Fill::Maglev, Fill::Once] {
            assert!(fill.owners(&[], 0).is_empty());
            assert_eq!(fill.length(&[], 0), 0);
        }
    }
}
