//! `cargo xtask build`.

use anyhow::Result;

use crate::run::{cargo, run};
use crate::setup::{self, Scope};

/// Runs the verb.
pub fn main() -> Result<()> {
    setup::ensure(Scope::Build)?;
    run(cargo().args(["build", "--release", "--package", "lb-userspace"]))?;
    println!("Built target/release/flowgate.");
    Ok(())
}
