//! Finding a compiler that has, or can build, `core` for the eBPF target.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TARGET;
use crate::linker::{LINKER_INSTALL, LINKER_PACKAGES, find_linker};

/// Set this environment variable to `debian` or `nightly` to look for that
/// toolchain alone.
pub const TOOLCHAIN_VARIABLE: &str = "FLOWGATE_EBPF_TOOLCHAIN";

/// The Debian packages that make up the toolchain [`Kind::Debian`].
pub const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Where a toolchain comes from, which decides how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian's compiler with a prebuilt `core`.
    Debian,
    /// rustup's nightly, which builds `core` from its source.
    Nightly,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "debian",
            Self::Nightly => "nightly",
        })
    }
}

/// A toolchain that can build the eBPF program.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// Where it comes from.
    pub kind: Kind,
    /// The cargo to run.
    pub cargo: PathBuf,
    /// The compiler that this cargo has to use.
    pub rustc: PathBuf,
    /// The linker.
    pub linker: PathBuf,
}

impl Toolchain {
    /// One line for people: which compiler and which linker.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "{} ({}), {}",
            self.kind,
            self.rustc.display(),
            self.linker.display()
        )
    }
}

/// Nothing on this machine can build the eBPF program. Its text says what is
/// missing and which commands bring it.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The variable that forces a toolchain holds something else.
    #[error("{TOOLCHAIN_VARIABLE} is {0:?}; it may be `debian` or `nightly`, or not set")]
    UnknownToolchain(String),
    /// A compiler, the linker or both are missing; one line each.
    #[error("nothing here can build the eBPF program:\n{}{}", .0.join("\n"), way_out())]
    Parts(Vec<String>),
}

/// Finds a compiler and the linker.
///
/// # Errors
/// [`Missing`] names every part that is missing.
pub fn find() -> Result<Toolchain, Missing> {
    match (find_compiler()?, find_linker()) {
        (Ok((kind, cargo, rustc)), Ok(linker)) => Ok(Toolchain {
            kind,
            cargo,
            rustc,
            linker,
        }),
        (compiler, linker) => {
            let mut parts = compiler.err().unwrap_or_default();
            parts.extend(linker.err().map(|why| format!("  bpf-linker {why}")));
            Err(Missing::Parts(parts))
        }
    }
}

/// A compiler: what kind it is, its cargo and its rustc.
type Compiler = (Kind, PathBuf, PathBuf);

/// Finds a compiler alone. Debian's comes first: its LLVM is the one that
/// bpf-linker is built with here, while a nightly's may be newer.
///
/// # Errors
/// [`Missing`] when [`TOOLCHAIN_VARIABLE`] makes no sense; inside, one line for
/// each toolchain that was looked at.
pub fn find_compiler() -> Result<Result<Compiler, Vec<String>>, Missing> {
    let kinds = match std::env::var(TOOLCHAIN_VARIABLE).as_deref() {
        Ok("debian") => vec![Kind::Debian],
        Ok("nightly") => vec![Kind::Nightly],
        Ok("") | Err(_) => vec![Kind::Debian, Kind::Nightly],
        Ok(other) => return Err(Missing::UnknownToolchain(other.to_owned())),
    };
    let mut reasons = Vec::new();
    for kind in kinds {
        let found = match kind {
            Kind::Debian => debian(),
            Kind::Nightly => nightly(),
        };
        match found {
            Ok((cargo, rustc)) => return Ok(Ok((kind, cargo, rustc))),
            Err(why) => reasons.push(format!("  {kind}: {why}")),
        }
    }
    if reasons.len() == 1 {
        reasons.push(format!(
            "  ({TOOLCHAIN_VARIABLE} is set, so nothing else was looked at)"
        ));
    }
    Ok(Err(reasons))
}

fn debian() -> Result<(PathBuf, PathBuf), String> {
    let rustc = PathBuf::from(DEBIAN_RUSTC);
    if !rustc.is_file() {
        return Err(format!("there is no {DEBIAN_RUSTC}"));
    }
    let sysroot = sysroot(&rustc)?;
    if !has_prebuilt_core(&sysroot) {
        return Err(format!("{DEBIAN_RUSTC} has no `core` for {TARGET}"));
    }
    let cargo = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    Ok((cargo, rustc))
}

fn sysroot(rustc: &Path) -> Result<PathBuf, String> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .map_err(|error| format!("{} doesn't run: {error}", rustc.display()))?;
    if !output.status.success() {
        return Err(format!("{} --print sysroot failed", rustc.display()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

fn has_prebuilt_core(sysroot: &Path) -> bool {
    let folder = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    entries(&folder).any(|name| name.starts_with("libcore-") && name.ends_with(".rlib"))
}

/// rustup's toolchains are folders. They are looked at, not run through
/// rustup, so that nothing gets downloaded by a question.
fn nightly() -> Result<(PathBuf, PathBuf), String> {
    let toolchains = rustup_home().join("toolchains");
    let mut names: Vec<String> = entries(&toolchains)
        .filter(|name| name.starts_with("nightly"))
        .collect();
    // `nightly-x86_64-…` before `nightly-2026-01-01-…`: letters after digits.
    names.sort_unstable_by(|a, b| b.cmp(a));
    if names.is_empty() {
        return Err("rustup has no nightly toolchain".to_owned());
    }
    let usable = names.iter().map(|name| toolchains.join(name)).find(|root| {
        root.join("lib/rustlib/src/rust/library/core/src/lib.rs")
            .is_file()
            && root.join("bin/cargo").is_file()
    });
    let Some(root) = usable else {
        return Err(format!("{} has no rust-src", names.join(", ")));
    };
    Ok((root.join("bin/cargo"), root.join("bin/rustc")))
}

fn rustup_home() -> PathBuf {
    std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".rustup")))
        .unwrap_or_default()
}

/// The names in a folder; none when there is no such folder.
fn entries(folder: &Path) -> impl Iterator<Item = String> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn way_out() -> String {
    let debian = DEBIAN_PACKAGES.join(" ");
    let llvm = LINKER_PACKAGES.join(" ");
    let install = LINKER_INSTALL.join(" ");
    format!(
        "
On Debian 12, as root, this installs what is missing:
  cargo xtask setup
By hand, the same:
  apt-get install {debian} {llvm}
  LLVM_PREFIX=/usr/lib/llvm-22 cargo {install}
With rustup's nightly in place of Debian's compiler, on any distribution (the linker's LLVM must be as new as the nightly's):
  rustup toolchain install nightly --component rust-src
  cargo binstall bpf-linker"
    )
}
