//! `cargo xtask failover`.

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{become_program, cargo, is_root, run};
use crate::setup::{self, Scope};

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
    if !is_root() {
        bail!(
            "this makes network namespaces and loads XDP programs, which takes root: \
             run `cargo xtask failover` as root"
        );
    }
    setup::ensure(Scope::All)?;
    // It measures the binary beside its own.
    let release = ["build", "--release", "--bins", "--package", "lb-userspace"];
    run(cargo().args(release))?;
    become_program(
        cargo()
            .args(["run", "--release", "--package", "flowgate-tests"])
            .args(["--bin", "flowgate-failover", "--"])
            .args(&arguments.failover),
    )
}
