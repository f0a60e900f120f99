//! `cargo xtask bench`.

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{become_program, cargo, is_root};
use crate::setup::{self, Scope};

/// Measures nanoseconds per packet, in every mode, beside two references (as root).
///
/// What it measures, and what came of it: docs/PERFORMANCE.md.
/// Installs what is missing and builds everything first. A busy machine gives
/// busy figures: leave it alone meanwhile.
#[derive(Args)]
pub struct Arguments {
    /// Passed on to the benchmark, such as `--quick` or `--json FILE`;
    /// `cargo xtask bench -- --help` lists its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!(
            "the benchmark runs XDP programs in the kernel, which takes root: \
             run `cargo xtask bench` as root"
        );
    }
    setup::ensure(Scope::Build)?;
    become_program(
        cargo()
            .args(["run", "--release", "--package", "flowgate-tests"])
            .args(["--bin", "flowgate-bench", "--"])
            .args(&arguments.bench),
    )
}
