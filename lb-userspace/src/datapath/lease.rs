//! How long this node answers for the VIPs of a group.

use std::sync::{Arc, atomic::Ordering};

use lb_common::abi;

use super::memory::Shared;

/// The word in which the data plane reads until when a group's VIPs are held.
#[derive(Clone)]
pub struct Lease {
    leases: Arc<Shared<abi::Lease>>,
    group: u32,
}

impl Lease {
    /// The lease of a group.
    ///
    /// # Panics
    ///
    /// When there is no group of that number.
    #[must_use]
    pub fn new(leases: Arc<Shared<abi::Lease>>, group: u32) -> Self {
        assert!(group < leases.length(), "there is no group {group}");
        Lease { leases, group }
    }

    /// Holds the group's VIPs until then, in nanoseconds of the monotonic clock.
    pub fn hold_until(&self, deadline: u64) {
        self.leases.record(self.group)[0].store(deadline, Ordering::Release);
    }

    /// Holds them no longer.
    pub fn release(&self) {
        self.hold_until(0);
    }

    /// Until when they are held.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        self.leases.record(self.group)[0].load(Ordering::Acquire)
    }
}
