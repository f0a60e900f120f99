//! `cargo xtask path`.

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{become_program, cargo, is_root, run};
use crate::setup::{self, Scope};

/// Measures packets per second from end to end, beside other forwarders (as root).
///
/// From a generator through Flowgate, or what it is compared with, to a sink, in network
/// namespaces. What came of it: docs/PERFORMANCE.md. Installs what is missing and builds
/// everything first. The senders take the machine's CPUs for themselves meanwhile.
#[derive(Args)]
pub struct Arguments {
    /// Passed on to the benchmark, such as `--quick` or `--json FILE`;
    /// `cargo xtask path -- --help` lists its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    path: Vec<String>,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!(
            "this makes network namespaces and loads XDP programs, which takes root: \
             run `cargo xtask path` as root"
        );
    }
    setup::ensure(Scope::All)?;
    // It measures the binary beside its own.
    let release = ["build", "--release", "--bins", "--package", "lb-userspace"];
    run(cargo().args(release))?;
    become_program(
        cargo()
            .args(["run", "--release", "--package", "flowgate-tests"])
            .args(["--bin", "flowgate-path", "--"])
            .args(&arguments.path),
    )
}
