//! Installing Debian packages.

use std::process::Command;

use anyhow::{Result, bail};

use super::log::Log;
use super::needs::Package;

/// Runs `apt-get install` with a policy that forbids it to start services, so
/// that the nginx that the demo runs in namespaces doesn't also come up on this
/// machine's port 80. A policy that the machine has is put aside meanwhile, and
/// put back, also on Ctrl-C: a shell runs its trap when the program that it
/// waits for is gone.
const INSTALL: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
aside=$policy.before-flowgate
put_back() {
    rm -f "$policy"
    if [ -e "$aside" ]; then mv "$aside" "$policy"; fi
}
if [ -e "$policy" ] && [ ! -e "$aside" ]; then mv "$policy" "$aside"; fi
trap put_back EXIT
trap 'exit 130' INT TERM HUP
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"
apt-get --option DPkg::Lock::Timeout=120 install --yes \
    --no-install-recommends --no-remove "$@"
"#;

/// Packages whose services would come up when the machine starts.
const SERVICES: [&str; 3] = ["nginx", "keepalived", "haproxy"];

/// Refuses a distribution whose packages we don't know.
pub fn check_distribution() -> Result<()> {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian_12(&os_release) {
        bail!(
            "this set-up knows the packages of Debian 12 only. Elsewhere, install nginx, iproute2 \
             and ethtool with your package manager, and:\n  \
             rustup toolchain install nightly --component rust-src\n  \
             cargo binstall bpf-linker"
        );
    }
    Ok(())
}

/// Installs packages. Does nothing when there are none.
pub fn install(packages: &[Package], log: &mut Log) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    log.run(
        "fetching Debian's package lists",
        unattended("apt-get").args(["--option", "DPkg::Lock::Timeout=120", "update"]),
    )?;
    let names = packages.iter().map(|package| package.name);
    log.run(
        "installing Debian packages",
        unattended("sh").args(["-c", INSTALL, "sh"]).args(names),
    )?;
    for service in SERVICES {
        if packages.iter().any(|package| package.name == service) {
            log.run(
                &format!("keeping Debian's own {service} service off"),
                Command::new("update-rc.d").args([service, "disable"]),
            )?;
        }
    }
    Ok(())
}

/// A command in which apt asks no questions and speaks English.
fn unattended(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    command
}

fn is_debian_12(os_release: &str) -> bool {
    let has = |wanted| os_release.lines().any(|line| line == wanted);
    has("ID=debian") && has("VERSION_ID=\"12\"")
}

#[cfg(test)]
mod tests {
    use super::is_debian_12;

    #[test]
    fn only_debian_12_is() {
        assert!(is_debian_12("ID=debian\nVERSION_ID=\"12\"\n"));
        assert!(!is_debian_12("ID=debian\nVERSION_ID=\"13\"\n"));
        assert!(!is_debian_12(
            "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"12\"\n"
        ));
        assert!(!is_debian_12(""));
    }
}
