//! What not every kernel has.
//!
//! A test that can't run on this kernel says so and is left out; unless the variable
//! `FLOWGATE_REQUIRE` names what is missing (a list with commas, such as
//! `vlan,tunnels`): then it fails. Kernels that are known to have something are told
//! to require it.

use anyhow::{Result, bail};

/// The variable.
pub const VARIABLE: &str = "FLOWGATE_REQUIRE";

/// Tells that `feature` is missing, and why: an error where it is required.
pub fn not_available(feature: &str, why: &anyhow::Error) -> Result<()> {
    let required = std::env::var(VARIABLE).unwrap_or_default();
    if required.split(',').any(|name| name == feature) {
        bail!("{VARIABLE} asks for {feature}, and this machine has none: {why:#}");
    }
    // Once a process.
    static SAID: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    let mut said = SAID
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if !said.iter().any(|name| name == feature) {
        said.push(feature.to_owned());
        let why = format!("{why:#}");
        let why = why.lines().next().unwrap_or_default();
        // Past the capture of a test's output: who runs it should see it.
        let line = format!("\nthis kernel has no {feature} ({why})\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }
    Ok(())
}
