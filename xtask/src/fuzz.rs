//! `cargo xtask fuzz`.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::run::{become_program, cargo, is_root};
use crate::setup::{self, Scope};

/// Sends random packets through the program and through a model of it (as root), or random
/// messages of other nodes to what takes them.
///
/// Stops at the first difference, with both outcomes and the command that shows it
/// again. Ctrl-C ends a run; what was seen so far is told.
#[derive(Args)]
pub struct Arguments {
    /// What is sent
    #[arg(long, value_enum, default_value = "packets")]
    what: What,
    /// How many packets or messages
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// The same as in the run with this seed; by default one that never was
    #[arg(long)]
    seed: Option<u64>,
    /// Only what leads to this one of the run, and it
    #[arg(long, requires = "seed")]
    at: Option<u64>,
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Packets, through the program and a model of it
    Packets,
    /// Advertisements of VRRP
    Vrrp,
    /// Datagrams of the replication of flows, to both sides
    Replication,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    if arguments.what == What::Packets && !is_root() {
        bail!(
            "the fuzzer runs an XDP program in the kernel, which takes root: \
             run `cargo xtask fuzz` as root, or `cargo xtask fuzz --what vrrp`"
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
    if let Some(what) = arguments.what.to_possible_value() {
        fuzz.args(["--what", what.get_name()]);
    }
    for (name, value) in [("--seed", arguments.seed), ("--at", arguments.at)] {
        if let Some(value) = value {
            fuzz.args([name, &value.to_string()]);
        }
    }
    become_program(&mut fuzz)
}
