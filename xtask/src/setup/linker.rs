//! Installing bpf-linker.

use anyhow::Result;
use lb_ebpf_build::LINKER_INSTALL;

use super::log::Log;
use crate::run::cargo;

/// Compiles it against Debian's LLVM 22, the one of the eBPF compiler.
pub fn install(log: &mut Log) -> Result<()> {
    let mut command = cargo();
    command
        .args(LINKER_INSTALL)
        .arg("--force")
        .env("LLVM_PREFIX", "/usr/lib/llvm-22");
    log.run("compiling bpf-linker", &mut command)
}
