//! Finding bpf-linker, which turns LLVM bitcode into one eBPF object.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that Flowgate is built and tested with; older ones are refused.
pub const LINKER_VERSION: &str = "0.13.0";

/// Debian packages that compiling bpf-linker takes: LLVM 22, the one that
/// `rustc-web` is built with, and what it links to.
pub const LINKER_PACKAGES: &[&str] = &[
    "llvm-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "libpolly-22-dev",
];

/// The arguments of the cargo that installs bpf-linker, to be run with
/// `LLVM_PREFIX=/usr/lib/llvm-22`.
pub const LINKER_INSTALL: &[&str] = &[
    "install",
    "bpf-linker@0.13.0",
    "--locked",
    "--no-default-features",
    "--features",
    "llvm-22",
];

/// Finds a bpf-linker that runs and is recent enough, in `PATH` or in cargo's
/// own `bin`.
///
/// # Errors
/// Why none can be used, in half a sentence.
pub fn find_linker() -> Result<PathBuf, String> {
    let found: Vec<PathBuf> = search_path()
        .map(|folder| folder.join("bpf-linker"))
        .filter(|candidate| candidate.is_file())
        .collect();
    let mut why = "is neither in PATH nor in cargo's bin folder".to_owned();
    for linker in found {
        match check_version(&linker) {
            Ok(()) => return Ok(linker),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// The folders in which a linker may be. Cargo's own comes last, for shells
/// whose PATH lacks it.
fn search_path() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders
        .into_iter()
        .chain(cargo_home().map(|home| home.join("bin")))
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

/// Runs the linker: one whose LLVM library is gone must not be picked.
fn check_version(linker: &Path) -> Result<(), String> {
    let output = Command::new(linker)
        .arg("--version")
        .output()
        .map_err(|error| format!("at {} doesn't run: {error}", linker.display()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "at {} doesn't run: {}",
            linker.display(),
            stderr.trim()
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().trim_start_matches("bpf-linker ");
    if parse(version) < parse(LINKER_VERSION) {
        return Err(format!(
            "at {} is version {version}; {LINKER_VERSION} or later is needed",
            linker.display()
        ));
    }
    Ok(())
}

/// `"0.13.0"` as numbers that compare; a part that is no number counts as 0.
fn parse(version: &str) -> Vec<u32> {
    version
        .split(['.', '-'])
        .take(3)
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LINKER_INSTALL, LINKER_VERSION, parse};

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse("0.9.15") < parse("0.13.0"));
        assert!(parse("0.13.0") <= parse("0.13.0"));
        assert!(parse("1.0.0-rc.1") > parse("0.13.0"));
        assert!(parse("nonsense") < parse("0.13.0"));
    }

    #[test]
    fn the_version_installed_is_the_version_asked_for() {
        assert_eq!(LINKER_INSTALL[1], format!("bpf-linker@{LINKER_VERSION}"));
    }
}
