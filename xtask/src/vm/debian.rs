//! Debian packages that are unpacked beside the build, and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::log::Log;

/// Fetches packages and unpacks them together in a folder of `cache` called `name`,
/// unless it is there.
pub fn unpacked(cache: &Path, name: &str, packages: &[String], log: &mut Log) -> Result<PathBuf> {
    let folder = cache.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    // What an interrupted run left is fetched anew: only the last step gives the
    // folder its name.
    let partial = cache.join(format!("{name}.partial"));
    let _ = fs::remove_dir_all(&partial);
    let archives = partial.join("archives");
    let root = partial.join("root");
    for folder in [&archives, &root] {
        fs::create_dir_all(folder)
            .with_context(|| format!("couldn't make {}", folder.display()))?;
    }
    log.run(
        &format!("fetching {name}"),
        Command::new("apt-get")
            .arg("download")
            .args(packages)
            .current_dir(&archives),
    )
    .context("`apt-get update` may help: the package lists may be old")?;
    log.run(
        &format!("unpacking {name}"),
        Command::new("sh")
            .args(["-ec", UNPACK, "sh"])
            .arg(&root)
            .current_dir(&archives),
    )?;
    fs::rename(&root, &folder).with_context(|| format!("couldn't make {}", folder.display()))?;
    fs::remove_dir_all(&partial)
        .with_context(|| format!("couldn't remove {}", partial.display()))?;
    Ok(folder)
}

const UNPACK: &str = r#"for archive in *.deb; do dpkg-deb --extract "$archive" "$1"; done"#;

/// The packages that apt would install with `package`, itself included. Nothing
/// happens when this machine has them all.
pub fn with_dependencies(package: &str) -> Result<Vec<String>> {
    let plan = output(Command::new("apt-get").args([
        "install",
        "--simulate",
        "--no-install-recommends",
        package,
    ]))?;
    let packages = planned(&plan);
    if packages.is_empty() {
        bail!("apt has nothing to install for {package}, and yet its program is missing");
    }
    Ok(packages)
}

/// The packages that a simulated installation installs.
fn planned(plan: &str) -> Vec<String> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter_map(|rest| rest.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// The names of all packages that begin so.
pub fn names(prefix: &str) -> Result<Vec<String>> {
    let names = output(Command::new("apt-cache").args(["pkgnames", prefix]))?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// What a program prints.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("LC_ALL", "C.UTF-8")
        .output()
        .with_context(|| format!("couldn't start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed ({}): {}", output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed no text"))
}

#[cfg(test)]
mod tests {
    use super::planned;

    #[test]
    fn a_plan_names_what_is_installed_only() {
        let plan = "Reading package lists...\n\
                    Remv qemu-utils [1:10.0.2]\n\
                    Inst seabios (1.16.2-1 Debian:12.11/stable [all])\n\
                    Inst libslirp0 [4.7.0-1] (4.7.0-2 Debian:12.11/stable [amd64])\n\
                    Conf seabios (1.16.2-1 Debian:12.11/stable [all])\n";
        assert_eq!(planned(plan), ["seabios", "libslirp0"]);
    }
}
