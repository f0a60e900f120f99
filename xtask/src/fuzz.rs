//! `cargo xtask fuzz`.

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{become_program, cargo, is_root};
use crate::setup::{self, Scope};

/// Sends random packets through the program and through a model of it (as root).
///
/// Stops at the first difference, with both outcomes and the command that shows it
/// again. Ctrl-C ends a run; what was seen so far is told.
#[derive(Args)]
pub struct Arguments {
    /// How many packets
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// The same packets as the run with this seed; by default one that never was
    #[arg(long)]
    seed: Option<u64>,
    /// Only what leads to this packet of the run, and it
    #[arg(long, requires = "seed")]
    at: Option<u64>,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!(
            "the fuzzer runs an XDP program in the kernel, which takes root: \
             run `cargo xtask fuzz` as root"
        );
    }
    setup::ensure(Scope::Build)?;
    let mut fuzz = cargo();
    fuzz.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "flowgate-fuzz",
        "--",
    ])
    .args(["--packets", &arguments.packets.to_string()]);
    for (name, value) in [("--seed", arguments.seed), ("--at", arguments.at)] {
        if let Some(value) = value {
            fuzz.args([name, &value.to_string()]);
        }
    }
    become_program(&mut fuzz)
}
