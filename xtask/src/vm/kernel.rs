//! Debian's stock kernels.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::debian::{self, output};
use crate::setup::log::Log;

/// Which kernels to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Debian 12's own
    #[value(name = "6.1")]
    Linux6_1,
    /// That of Debian 13, which Debian 12 also has
    #[value(name = "6.12")]
    Linux6_12,
    /// Both
    All,
}

impl Choice {
    /// How the names of the packages of the chosen kernels begin.
    pub fn series(self) -> &'static [&'static str] {
        const PREFIXES: &[&str] = &["linux-image-6.1.0-", "linux-image-6.12."];
        match self {
            Choice::Linux6_1 => &PREFIXES[..1],
            Choice::Linux6_12 => &PREFIXES[1..],
            Choice::All => PREFIXES,
        }
    }
}

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    /// What `uname -r` says under it.
    pub release: String,
    folder: PathBuf,
}

impl Kernel {
    /// The newest of a series, unpacked in `cache`.
    pub fn newest(cache: &Path, prefix: &str, log: &mut Log) -> Result<Self> {
        let names = debian::names(prefix)?;
        let package = newest(prefix, &names).with_context(|| {
            format!("apt knows no package {prefix}…-amd64; run `apt-get update`, on Debian 12")
        })?;
        let release = package
            .strip_prefix("linux-image-")
            .unwrap_or(&package)
            .to_owned();
        let folder = debian::unpacked(cache, &package, std::slice::from_ref(&package), log)?;
        let kernel = Self { release, folder };
        if !kernel.modules().join("modules.dep").is_file() {
            log.run(
                "listing its modules",
                Command::new("/sbin/depmod")
                    .arg("--basedir")
                    .arg(&kernel.folder)
                    .arg(&kernel.release),
            )?;
        }
        Ok(kernel)
    }

    /// What QEMU boots.
    pub fn image(&self) -> PathBuf {
        self.folder.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// What belongs in `/lib/modules/RELEASE`.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }

    /// The files of these modules and of those that they need, each once, in the order
    /// of loading. What is built into the kernel isn't among them.
    pub fn module_files(&self, modules: &[&str]) -> Result<Vec<PathBuf>> {
        let listed = output(
            Command::new("/sbin/modprobe")
                .arg("--dirname")
                .arg(&self.folder)
                .args(["--set-version", &self.release, "--show-depends", "--all"])
                .args(modules),
        )?;
        Ok(inserted(&listed))
    }
}

/// The files of `modprobe --show-depends`.
fn inserted(listed: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in listed.lines() {
        let Some(file) = line.strip_prefix("insmod ") else {
            continue;
        };
        let file = PathBuf::from(file.trim_end());
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}

/// The newest kernel package with that prefix. Kernels for clouds lack the file
/// system that the guest runs on, and real-time kernels are another thing.
fn newest(prefix: &str, names: &[String]) -> Option<String> {
    let version = |name: &str| -> Option<u32> {
        let version = name.strip_prefix(prefix)?.strip_suffix("-amd64")?;
        version
            .strip_suffix("+deb12")
            .unwrap_or(version)
            .parse()
            .ok()
    };
    names
        .iter()
        .filter_map(|name| Some((version(name)?, name)))
        .max()
        .map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stock_kernel_is_taken() {
        let names = [
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.118+deb12-cloud-amd64",
            "linux-image-6.12.119+deb12-rt-amd64",
            "linux-image-6.12.120+deb12-amd64-unsigned",
            "linux-image-6.12-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-9-amd64",
        ]
        .map(str::to_owned);
        let [six_one, six_twelve] = [0, 1].map(|at| Choice::All.series()[at]);
        assert_eq!(newest(six_twelve, &names).as_ref(), Some(&names[1]));
        assert_eq!(newest(six_one, &names).as_ref(), Some(&names[6]));
        assert_eq!(newest("linux-image-7.", &names), None);
    }

    #[test]
    fn modules_are_listed_once_and_in_order() {
        let listed = "builtin virtio_pci\ninsmod /k/9pnet.ko.xz \ninsmod /k/9p.ko.xz \n\
                      insmod /k/9pnet.ko.xz \n";
        let files: Vec<PathBuf> = vec!["/k/9pnet.ko.xz".into(), "/k/9p.ko.xz".into()];
        assert_eq!(inserted(listed), files);
    }
}
