//! `cargo xtask interop`.

use anyhow::Result;
use clap::Args;

use crate::run::become_measurement;

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
    become_measurement("interop", "flowgate-interop", &arguments.interop)
}
