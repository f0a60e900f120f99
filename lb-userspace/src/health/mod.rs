//! Whether backends answer.
//!
//! [`Machine`] decides what a probe's result means and when the next one is
//! due, [`probe()`] asks a backend, and [`Checker`] does both for many backends.

mod machine;
mod probe;
mod runner;

pub use machine::{Health, Machine, Transition};
pub use probe::{Endpoint, ProbeError, probe};
pub use runner::{Checker, HealthEvent, Target, TargetId};

#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod probe_tests;
#[cfg(test)]
mod runner_tests;
