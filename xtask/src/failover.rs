//! `cargo xtask failover`.

use anyhow::Result;
use clap::Args;

use crate::run::become_measurement;

/// Measures what faults of a pair of load balancers cost their clients (as root).
///
/// Two nodes share a VIP, and something happens to the active one: Flowgate in its modes
/// beside keepalived with HAProxy, in network namespaces. What came of it:
/// docs/FAILOVER.md. Installs what is missing and builds everything first.
#[derive(Args)]
pub struct Arguments {
    /// Passed on to the measurement, such as `--trials 2` or `--json FILE`;
    /// `cargo xtask failover -- --help` lists its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    failover: Vec<String>,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    become_measurement("failover", "flowgate-failover", &arguments.failover)
}
