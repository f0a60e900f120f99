//! `cargo xtask lint`.

use anyhow::Result;

use crate::run::{cargo, run};
use crate::setup::{self, Scope};

/// Runs the verb.
pub fn main() -> Result<()> {
    setup::ensure(Scope::Build)?;
    println!("Formatting");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    println!("Lints");
    run(cargo()
        .args(["clippy", "--workspace", "--all-targets", "--", "-D"])
        .arg("warnings"))?;
    println!("Documentation");
    run(cargo()
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    println!("Formatting, lints and documentation are clean.");
    Ok(())
}
