//! Which neighbours the kernel must be asked to resolve, and when.
//!
//! What XDP forwards is no traffic in the kernel's eyes: its neighbour entries
//! would never be confirmed, and die. So each entry that goes stale is used by
//! hand, which makes the kernel ask the neighbour whether it is still there.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use rtnetlink::packet_route::neighbour::NeighbourState;

use super::{NetState, prefix::is_link_local};

/// The time after which an entry that is still wanting is asked for again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Remembers whom it asked for.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    asked: HashMap<(u32, IpAddr), Instant>,
}

impl Resolver {
    /// The (ifindex, address) pairs to be resolved or confirmed `now`, so that
    /// frames reach `wanted`.
    pub fn due(&mut self, state: &NetState, wanted: &[IpAddr], now: Instant) -> Vec<(u32, IpAddr)> {
        self.asked.retain(|_, asked| *asked + RETRY > now);
        let mut due = Vec::new();
        for hop in wanted.iter().flat_map(|ip| next_hops(state, *ip)) {
            let known = state.neighbour(hop.0, hop.1);
            if known.is_none_or(|known| wants_asking(known.state)) && !self.asked.contains_key(&hop)
            {
                self.asked.insert(hop, now);
                due.push(hop);
            }
        }
        due
    }
}

/// The neighbours that must be known to reach `wanted`: a link-local address stands for
/// each router that has it.
fn next_hops(state: &NetState, wanted: IpAddr) -> Vec<(u32, IpAddr)> {
    if !is_link_local(wanted) {
        return state.next(wanted).into_iter().collect();
    }
    state
        .gateways()
        .filter(|(ifindex, gateway)| *gateway == wanted && state.link_path(*ifindex).is_ok())
        .collect()
}

/// In the other states the kernel is asking already, or sure.
fn wants_asking(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::None | NeighbourState::Stale | NeighbourState::Failed
    )
}
