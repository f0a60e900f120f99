//! The machine that is measured on.

use serde::Serialize;

/// What figures depend on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// The CPU's name.
    pub cpu: String,
    /// The CPU that all ran on.
    pub pinned_to: usize,
    /// Whether the kernel compiled the programs.
    pub jit: bool,
}
