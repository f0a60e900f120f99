//! What is missing on this machine, and why it is needed.

use std::fmt;

use anyhow::{Result, bail};
use lb_ebpf_build::{
    DEBIAN_PACKAGES, Kind, LINKER_PACKAGES, LINKER_VERSION, TOOLCHAIN_VARIABLE, find_compiler,
    find_linker,
};

use super::Scope;
use super::bpffs;
use crate::run::find_program;

/// Programs that the tests and the demo run: name, Debian package, use.
const PROGRAMS: &[(&str, &str, &str)] = &[
    (
        "nginx",
        "nginx",
        "the web servers of demo and tests; its own service stays off",
    ),
    (
        "dnsmasq",
        "dnsmasq-base",
        "the name servers of tests by UDP; the package has no service of its own",
    ),
    (
        "dig",
        "bind9-dnsutils",
        "the client that asks name servers in tests by UDP",
    ),
    (
        "iperf3",
        "iperf3",
        "bulk transfers through the load balancer; its own service stays off",
    ),
    (
        "ip",
        "iproute2",
        "makes the namespaces' links and addresses",
    ),
    (
        "ethtool",
        "ethtool",
        "turns off the checksum offload that veth leaves to a NIC it hasn't got",
    ),
    (
        "nft",
        "nftables",
        "a forwarder that Flowgate is measured beside; its own service stays off",
    ),
    (
        "keepalived",
        "keepalived",
        "VRRP that Flowgate's is tried and measured beside; its own service stays off",
    ),
    (
        "haproxy",
        "haproxy",
        "the load balancer that failover is measured beside; its own service stays off",
    ),
    (
        "tshark",
        "tshark",
        "judges the packets that Flowgate sends; it has no service",
    ),
];

/// Programs that it takes to run other kernels. QEMU isn't here: where it is missing,
/// it is unpacked beside the kernels.
const VM_PROGRAMS: &[(&str, &str, &str)] = &[
    (
        "busybox",
        "busybox-static",
        "the guest's first program, before it finds the host's",
    ),
    ("modprobe", "kmod", "loads modules in the guest"),
    ("cpio", "cpio", "packs the guest's first files"),
    ("xz", "xz-utils", "unpacks kernel modules"),
    (
        "ipvsadm",
        "ipvsadm",
        "IPVS in the guest, which Flowgate is compared with; its own service stays off",
    ),
];

/// A Debian package, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: &'static str,
    pub reason: &'static str,
}

/// What is missing.
#[derive(Debug, Default)]
pub struct Needs {
    pub packages: Vec<Package>,
    pub linker: bool,
    pub bpffs: bool,
}

impl Needs {
    /// Looks at this machine.
    pub fn of_this_machine(scope: Scope) -> Result<Self> {
        let mut needs = Self {
            linker: find_linker().is_err(),
            ..Self::default()
        };
        if lacks_compiler(needs.linker)? {
            needs.add(
                DEBIAN_PACKAGES,
                "compiles the eBPF program, which stable Rust can't",
            );
        }
        if needs.linker {
            needs.add(LINKER_PACKAGES, "what bpf-linker is compiled with");
        }
        if scope != Scope::Build {
            needs.add_programs(PROGRAMS);
            needs.bpffs = !bpffs::is_mounted()?;
        }
        if scope == Scope::Vm {
            needs.add_programs(VM_PROGRAMS);
        }
        Ok(needs)
    }

    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.linker && !self.bpffs
    }

    fn add_programs(&mut self, programs: &[(&str, &'static str, &'static str)]) {
        for (program, package, reason) in programs {
            if find_program(program).is_none() {
                self.add(&[package], reason);
            }
        }
    }

    fn add(&mut self, names: &[&'static str], reason: &'static str) {
        let packages = names.iter().map(|name| Package { name, reason });
        self.packages.extend(packages);
    }
}

/// Whether to install Debian's compiler. A nightly that came without a linker
/// may have a newer LLVM than the linker installed here, so it doesn't count.
fn lacks_compiler(lacks_linker: bool) -> Result<bool> {
    let forced = std::env::var(TOOLCHAIN_VARIABLE).unwrap_or_default();
    match find_compiler()? {
        Ok((Kind::Nightly, ..)) => Ok(lacks_linker && forced.is_empty()),
        Ok((Kind::Debian, ..)) => Ok(false),
        Err(_) if forced == "nightly" => bail!(
            "{TOOLCHAIN_VARIABLE} asks for a nightly with rust-src, and rustup has none. \
             Install one, or unset the variable to have Debian's compiler installed:\n  \
             rustup toolchain install nightly --component rust-src"
        ),
        Err(_) => Ok(true),
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Missing on this machine:")?;
        for group in self.packages.chunk_by(|a, b| a.reason == b.reason) {
            let names: Vec<&str> = group.iter().map(|package| package.name).collect();
            let noun = if names.len() == 1 {
                "package"
            } else {
                "packages"
            };
            writeln!(f, "  Debian {noun} {}", names.join(" "))?;
            writeln!(f, "      {}", group[0].reason)?;
        }
        if self.linker {
            writeln!(
                f,
                "  bpf-linker {LINKER_VERSION} (cargo install; a minute or two)"
            )?;
            writeln!(f, "      links the eBPF program")?;
        }
        if self.bpffs {
            writeln!(f, "  a bpf file system at {} (mount)", bpffs::FOLDER)?;
            writeln!(f, "      keeps programs and maps while the daemon is away")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Needs;

    #[test]
    fn packages_for_one_purpose_are_told_together() {
        let mut needs = Needs::default();
        needs.add(&["one", "two"], "builds");
        needs.add(&["three"], "serves");
        assert_eq!(
            needs.to_string(),
            "Missing on this machine:\n  \
             Debian packages one two\n      builds\n  \
             Debian package three\n      serves\n"
        );
    }

    #[test]
    fn anything_missing_is_a_need() {
        assert!(Needs::default().is_empty());
        for needs in [
            Needs {
                linker: true,
                ..Needs::default()
            },
            Needs {
                bpffs: true,
                ..Needs::default()
            },
        ] {
            assert!(!needs.is_empty());
        }
    }
}
