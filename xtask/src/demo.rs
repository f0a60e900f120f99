//! `cargo xtask demo`.

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{become_program, cargo, is_root, run};
use crate::setup::{self, Scope};

/// Shows Flowgate at work on this machine, and checks what it shows (as root).
///
/// Installs what is missing and builds everything first. Then: a client, a load
/// balancer and web servers in network namespaces, which are gone again
/// afterwards, also after Ctrl-C. The exit status is 0 only if every claim held.
#[derive(Args)]
pub struct Arguments {
    /// Passed on to the demo; `cargo xtask demo -- --help` lists its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    demo: Vec<String>,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!(
            "the demo makes network namespaces and loads an XDP program, which takes root: \
             run `cargo xtask demo` as root"
        );
    }
    setup::ensure(Scope::All)?;
    println!("Building the eBPF program, flowgate and the demo");
    run(cargo()
        .args(["build", "--release", "--package", "lb-userspace"])
        .args(["--package", "flowgate-tests", "--bins"]))?;
    become_program(
        cargo()
            .args(["run", "--quiet", "--release", "--package", "flowgate-tests"])
            .args(["--bin", "flowgate-demo", "--"])
            .args(&arguments.demo),
    )
}
