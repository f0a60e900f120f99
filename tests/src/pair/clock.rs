//! The clock that everything in a trial is noted by.

use std::time::{Duration, Instant};

/// Counts from the trial's beginning.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since.
    pub fn now(self) -> Duration {
        self.0.elapsed()
    }
}
