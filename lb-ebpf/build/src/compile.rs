//! Calling cargo for the eBPF target.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TARGET;
use crate::toolchain::{Kind, Toolchain};

/// The program couldn't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Cargo couldn't be started.
    #[error("couldn't run {}: {source}", cargo.display())]
    Start {
        /// The cargo in question.
        cargo: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Compiler or linker refused.
    #[error("building the eBPF program `{bin}` with {toolchain} failed:\n{output}{hint}")]
    Refused {
        /// Which program.
        bin: String,
        /// With what.
        toolchain: String,
        /// What cargo wrote.
        output: String,
        /// What to do about it, where that is known; else empty.
        hint: &'static str,
    },
}

/// Builds the program `bin` of the package `lb-ebpf` in the workspace at
/// `workspace_root`, and returns the path of the eBPF object.
///
/// `target_dir` must not be the target folder of a cargo that is running: it
/// holds a lock on that. A folder for each kind of toolchain is made inside,
/// since their products don't mix.
///
/// # Errors
/// [`BuildError`], with what the compiler said.
pub fn build(
    toolchain: &Toolchain,
    workspace_root: &Path,
    target_dir: &Path,
    bin: &str,
) -> Result<PathBuf, BuildError> {
    let target_dir = target_dir.join(toolchain.kind.to_string());
    let output = command(toolchain, workspace_root, &target_dir, bin)
        .output()
        .map_err(|source| BuildError::Start {
            cargo: toolchain.cargo.clone(),
            source,
        })?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(BuildError::Refused {
            bin: bin.to_owned(),
            toolchain: toolchain.describe(),
            hint: hint(&text),
            output: text,
        });
    }
    eprint!("{text}");
    Ok(target_dir.join(TARGET).join("release").join(bin))
}

fn command(toolchain: &Toolchain, workspace_root: &Path, target_dir: &Path, bin: &str) -> Command {
    let mut command = Command::new(&toolchain.cargo);
    for (name, _) in std::env::vars_os().filter(|(name, _)| belongs_to_outer_cargo(name)) {
        command.env_remove(name);
    }
    command
        .current_dir(workspace_root)
        .env("RUSTC", &toolchain.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&toolchain.linker))
        .args(["build", "--release", "--package", "lb-ebpf", "--bin", bin])
        .args(["--target", TARGET, "--target-dir"])
        .arg(target_dir);
    match toolchain.kind {
        // A stable compiler lets unstable features pass when it is told to.
        Kind::Debian => command.env("RUSTC_BOOTSTRAP", "1"),
        Kind::Nightly => command.args(["-Z", "build-std=core"]),
    };
    command
}

/// The compiler's flags, separated as cargo wants them.
///
/// `v3` brings 32-bit arithmetic and compare-exchange, which every kernel that
/// Flowgate supports (6.1 and later) has. BTF is made from the debug info.
fn flags(linker: &Path) -> String {
    [
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
    ]
    .join("\x1f")
}

/// Whether a variable comes from, or speaks to, the cargo that runs us (in a
/// build script, under clippy, from xtask) and would lead this one astray.
/// What says where to get crates from, and the shared job server, stay.
fn belongs_to_outer_cargo(name: &OsStr) -> bool {
    const KEPT: &[&str] = &[
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    const REMOVED: &[&str] = &[
        "CARGO",
        "CLIPPY_",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "__CARGO",
    ];
    let name = name.to_string_lossy();
    let starts = |list: &[&str]| list.iter().any(|prefix| name.starts_with(prefix));
    starts(REMOVED) && !starts(KEPT)
}

/// The one failure whose text leads nowhere by itself.
fn hint(output: &str) -> &'static str {
    if output.contains("Producer:") && output.contains("Reader:") {
        "\nThe compiler's LLVM is newer than the linker's: install a bpf-linker built with the \
         same LLVM, or set FLOWGATE_EBPF_TOOLCHAIN=debian"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::belongs_to_outer_cargo;
    use std::ffi::OsStr;

    #[test]
    fn only_what_belongs_to_the_outer_cargo_goes() {
        for gone in [
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CLIPPY_ARGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(belongs_to_outer_cargo(OsStr::new(gone)), "{gone}");
        }
        for kept in [
            "PATH",
            "HOME",
            "CARGO_HOME",
            "CARGO_REGISTRIES_MIRROR_INDEX",
            "CARGO_NET_OFFLINE",
            "CARGO_MAKEFLAGS",
            "RUSTUP_HOME",
        ] {
            assert!(!belongs_to_outer_cargo(OsStr::new(kept)), "{kept}");
        }
    }
}
