//! Clearing expired flows, and giving numbers free that no flow names any more.

use std::{collections::HashSet, sync::Arc};

use tracing::error;

use super::Manager;
use crate::datapath;

/// What a sweep found.
pub(super) struct Swept {
    /// Numbers that waited for their flows to end when it began.
    retired: HashSet<u16>,
    /// What is there.
    found: datapath::Swept,
}

impl Manager {
    pub(super) fn begin_sweep(&mut self) {
        if self.sweep.is_some() {
            return;
        }
        let now = match self.clock.tick() {
            Ok(now) => now,
            Err(error) => {
                error!("{error}");
                return;
            }
        };
        let retired = self.model.retired().collect();
        let flows = Arc::clone(&self.flows);
        self.sweep = Some(tokio::task::spawn_blocking(move || Swept {
            retired,
            found: flows.sweep(now),
        }));
    }

    /// A number is free again once a sweep that began after it was retired has not met
    /// it: no packet gives a retired number to a flow.
    pub(super) fn end_sweep(&mut self, swept: &Swept) {
        let released = self.model.release(|number| {
            !swept.retired.contains(&number) || swept.found.flows[usize::from(number)] > 0
        });
        for number in released {
            self.tables.forget_backend(number);
        }
        self.ports_used = swept.found.ports;
    }
}
