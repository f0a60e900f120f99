//! Running cargo and other programs in the workspace.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Scope};

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in a workspace")
}

/// The cargo that runs us, not whichever comes first in PATH: a package that
/// the set-up installs may bring another.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// Runs a program in the foreground and fails when it does.
pub fn run(command: &mut Command) -> Result<()> {
    let text = describe(command);
    let status = command
        .status()
        .with_context(|| format!("couldn't start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed ({status})");
    }
    Ok(())
}

/// Becomes the program, so that a Ctrl-C, and the exit status, are between it
/// and whoever started us.
pub fn become_program(command: &mut Command) -> Result<()> {
    let text = describe(command);
    let error = command.exec();
    Err(error).with_context(|| format!("couldn't start `{text}`"))
}

/// Becomes a program that measures the binary beside its own, in network namespaces: `verb`
/// is what was typed.
pub fn become_measurement(verb: &str, program: &str, arguments: &[String]) -> Result<()> {
    if !is_root() {
        bail!(
            "this makes network namespaces and loads XDP programs, which takes root: \
             run `cargo xtask {verb}` as root"
        );
    }
    setup::ensure(Scope::All)?;
    run(cargo().args(["build", "--release", "--bins", "--package", "lb-userspace"]))?;
    become_program(
        cargo()
            .args(["run", "--release", "--package", "flowgate-tests"])
            .args(["--bin", program, "--"])
            .args(arguments),
    )
}

/// Where a program is in PATH or in the folders of the administrator's tools,
/// which an ordinary user's PATH lacks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Whether we run as root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// What would be typed to run it.
fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
