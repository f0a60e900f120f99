//! What is done by looking at the flow table: expired flows are cleared, loads counted,
//! places of wheels brought to rest, and numbers given free that no flow names any more.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::error;

use super::Manager;
use crate::{
    datapath,
    plan::{self, Lives, Watch},
};

/// How often it is looked at.
const USUAL: Duration = Duration::from_secs(10);
/// How often while somebody's scheduler goes by the loads.
/// (`tests/least_connections.rs` of lb-common shows what a rarer look costs).
const FOR_LOADS: Duration = Duration::from_millis(125);
/// At most one part in this many of the time is spent with looking.
const REST: u32 = 10;

/// When the flow table is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Pace {
    began: Option<Instant>,
    took: Duration,
    /// The last look met no flow.
    is_empty: bool,
}

impl Pace {
    /// Whether it is time again. `remembers` tells whether there may be anything to see.
    fn is_due(&self, now: Instant, has_loads: bool, remembers: impl Fn() -> bool) -> bool {
        let wanted = if has_loads { FOR_LOADS } else { USUAL };
        let is_time = self.began.is_none_or(|began| {
            // Ticks come a little early or late.
            now.duration_since(began) + FOR_LOADS / 2 >= wanted.max(self.took * REST)
        });
        is_time && (!self.is_empty || remembers())
    }
}

/// What a sweep found.
pub(super) struct Swept {
    /// Numbers that waited for their flows to end when it began.
    retired: HashSet<u16>,
    /// The services that it looked at more closely.
    watches: Vec<Watch>,
    /// What is there.
    found: datapath::Swept,
    took: Duration,
}

impl Manager {
    pub(super) fn begin_sweep(&mut self) {
        let began = Instant::now();
        let has_loads = !self.model.weights.is_empty();
        let remembers = || self.model.remembers_flows();
        if self.sweep.is_some() || !self.pace.is_due(began, has_loads, remembers) {
            return;
        }
        let now = match self.clock.tick() {
            Ok(now) => now,
            Err(error) => {
                error!("{error}");
                return;
            }
        };
        self.pace.began = Some(began);
        let retired = self.model.retired().collect();
        let watches = self.model.watches(began);
        let flows = Arc::clone(&self.flows);
        self.sweep = Some(tokio::task::spawn_blocking(move || Swept {
            retired,
            found: flows.sweep(now, &watches),
            watches,
            took: began.elapsed(),
        }));
    }

    /// A number is free again once a sweep that began after it was retired has not met
    /// it: no packet gives a retired number to a flow.
    pub(super) fn end_sweep(&mut self, swept: Swept) {
        let Swept {
            retired,
            watches,
            found,
            took,
        } = swept;
        self.pace.took = took;
        self.pace.is_empty = found.flows.iter().all(|flows| *flows == 0);
        self.tables.put_loads(&self.model.weights, &found.open);
        let scanned: Vec<_> = watches.into_iter().zip(found.seen).collect();
        let lives = Lives::from(&self.desired.config().timeouts);
        let settled = plan::settle(&self.model, &scanned, lives, Instant::now());
        if let Some(plan) = settled
            && let Err(error) = self.carry_out(plan)
        {
            error!("wheels stay as they were: {error}");
        }
        let released = self
            .model
            .release(|number| !retired.contains(&number) || found.flows[usize::from(number)] > 0);
        for number in released {
            self.tables.forget_backend(number);
        }
        self.ports_used = found.ports;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_looked_at_as_often_as_somebody_needs_it() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let due = |pace: &Pace, ms, has_loads, remembers| {
            pace.is_due(start + Duration::from_millis(ms), has_loads, || remembers)
        };
        assert!(due(&pace, 0, false, false), "nobody knows what is there");
        pace.began = Some(start);
        assert!(due(&pace, 124, true, true) && !due(&pace, 50, true, true));
        assert!(due(&pace, 9_999, false, true) && !due(&pace, 9_900, false, true));
        assert!(due(&pace, 9_999, false, false), "flows are to expire");
        pace.is_empty = true;
        assert!(!due(&pace, 9_999, false, false) && due(&pace, 9_999, false, true));
        pace.took = Duration::from_millis(300);
        assert!(due(&pace, 3_000, true, true) && !due(&pace, 2_000, true, true));
    }
}
