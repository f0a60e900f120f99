//! `cargo xtask path`.

use anyhow::Result;
use clap::Args;

use crate::run::become_measurement;

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
    become_measurement("path", "flowgate-path", &arguments.path)
}
