//! Which neighbours the kernel must be asked to resolve, and when.
//!
//! What XDP forwards is no traffic in the kernel's eyes: its neighbour entries
//! would never be confirmed, and die. So each entry that goes stale is used by
//! hand, which makes the kernel ask the neighbour whether it is still there.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use rtnetlink::packet_route::neighbour::NeighbourState;

use super::NetState;

/// The time after which an entry that is still wanting is asked for again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Remembers whom it asked for.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    asked: HashMap<(u32, Ipv4Addr), Instant>,
}

impl Resolver {
    /// The (ifindex, address) pairs to be resolved or confirmed `now`, so that
    /// frames reach `wanted`.
    pub fn due(
        &mut self,
        state: &NetState,
        wanted: &[Ipv4Addr],
        now: Instant,
    ) -> Vec<(u32, Ipv4Addr)> {
        self.asked.retain(|_, asked| *asked + RETRY > now);
        let mut due = Vec::new();
        for destination in wanted {
            let Ok((ifindex, via, _)) = state.next(*destination) else {
                continue;
            };
            let hop = (ifindex, via);
            let known = state.neighbour(ifindex, via);
            if known.is_none_or(|known| wants_asking(known.state)) && !self.asked.contains_key(&hop)
            {
                self.asked.insert(hop, now);
                due.push(hop);
            }
        }
        due
    }
}

/// In the other states the kernel is asking already, or sure.
fn wants_asking(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::None | NeighbourState::Stale | NeighbourState::Failed
    )
}
