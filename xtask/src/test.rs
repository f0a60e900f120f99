//! `cargo xtask test`.

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{cargo, is_root, run};
use crate::setup::{self, Scope};

/// Runs all tests, those on real networks and the real kernel too (as root).
///
/// Installs what is missing first. All traffic stays inside network namespaces
/// that the tests make and remove.
#[derive(Args)]
pub struct Arguments {
    /// Passed on to `cargo test`: part of a test's name, or options, such as
    /// `--package lb-common` or `NAME -- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_test: Vec<String>,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        bail!(
            "the tests make network namespaces and load XDP programs, which takes root.\n\
             Run `cargo xtask test` as root, or only the tests that need no kernel:\n  \
             cargo test --package lb-common --package lb-userspace --lib"
        );
    }
    setup::ensure(Scope::All)?;
    let started = Instant::now();
    // The tests run this binary; `cargo test` alone doesn't build it for a
    // package other than its own.
    run(cargo().args(["build", "--package", "lb-userspace", "--bins"]))?;
    let mut tests = cargo();
    tests.args(["test", "--no-fail-fast"]);
    if !arguments
        .cargo_test
        .iter()
        .any(|word| chooses_package(word))
    {
        tests.arg("--workspace");
    }
    let outcome = run(tests.args(&arguments.cargo_test));
    let seconds = started.elapsed().as_secs();
    if outcome.is_err() {
        bail!("tests failed, after {seconds} s; which ones is said above");
    }
    println!("All tests passed, in {seconds} s.");
    Ok(())
}

fn chooses_package(word: &str) -> bool {
    word == "-p" || word.starts_with("--package")
}
