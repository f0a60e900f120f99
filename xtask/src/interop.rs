//! `cargo xtask interop`.

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{become_program, cargo, is_root, run};
use crate::setup::{self, Scope};

/// Puts Flowgate and keepalived into one VRRP group and looks who has the VIPs (as root).
///
/// In network namespaces, in every version and way that both have; tshark reads what Flowgate
/// sends. What came of it: docs/INTEROPERATION.md. Installs what is missing and builds
/// everything first.
#[derive(Args)]
pub struct Arguments {
    /// Passed on to the program, such as `--short`; `cargo xtask interop -- --help` lists its
    /// options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    interop: Vec<String>,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!(
            "this makes network namespaces and loads XDP programs, which takes root: \
             run `cargo xtask interop` as root"
        );
    }
    setup::ensure(Scope::All)?;
    // It runs the binary beside its own.
    run(cargo().args(["build", "--package", "lb-userspace", "--bins"]))?;
    become_program(
        cargo()
            .args(["run", "--package", "flowgate-tests"])
            .args(["--bin", "flowgate-interop", "--"])
            .args(&arguments.interop),
    )
}
