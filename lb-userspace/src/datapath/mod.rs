//! The data plane as userspace sees it: its maps and programs. No other module
//! touches them.

pub mod advice;
pub mod attach;
pub mod census;
pub mod counters;
mod cpus;
pub mod endpoints;
pub mod flows;
pub mod footprint;
pub mod known;
pub mod lease;
pub mod link;
pub mod lookup;
pub mod memory;
pub mod object;
pub mod pins;
mod recover;
#[cfg(test)]
mod recover_tests;
pub mod regions;
mod routes;
pub mod tables;
pub mod watch;

pub use attach::{Attachment, Place};
pub use counters::Counters;
pub use flows::{Flows, PortsUsed, Swept};
pub use lease::Lease;
pub use object::{Constants, Object};
pub use pins::Pins;
pub use tables::{Tables, WriteError};
pub use watch::{Ring, Switch};

use std::{io, path::PathBuf};

use lb_common::limits::MAX_CPUS;

/// Why the data plane can't be had.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// Not root.
    #[error(
        "loading the XDP program needs root (or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON): {0}; run it with sudo"
    )]
    NotPermitted(String),
    /// No BPF file system where the pins should go.
    #[error(
        "{path} is not on a BPF file system; mount one with `mount -t bpf bpf /sys/fs/bpf`, or give another --pin-dir"
    )]
    NoBpffs {
        /// The pin directory.
        path: PathBuf,
    },
    /// The BPF file system takes no dots.
    #[error("{path}: names on a BPF file system can't contain dots; give another --pin-dir")]
    Dotted {
        /// The pin directory.
        path: PathBuf,
    },
    /// Pins of a Flowgate that lays its maps out otherwise.
    #[error(
        "{path} holds maps of another Flowgate (layout {found}, this one has {ours}); remove them with `flowgate unload` of that version, then start this one"
    )]
    OtherVersion {
        /// The pin directory.
        path: PathBuf,
        /// Layout version of the pinned maps.
        found: u32,
        /// Our own.
        ours: u32,
    },
    /// The pinned flow table has another size than the configuration asks for.
    #[error(
        "the flow table in use holds {found} flows and the configuration asks for {asked}; a table can't be resized in use: set max_flows back to {found}, or run `flowgate unload` first (which stops forwarding and forgets all flows)"
    )]
    OtherSize {
        /// Flows that the pinned table is made for.
        found: u64,
        /// Flows that the configuration asks for.
        asked: u64,
    },
    /// The pinned flow table counts by other timeouts than the configuration gives.
    #[error(
        "the timeouts are not those that the flow table in use was made with; they can't change in use: set [timeouts] back, or run `flowgate unload` first (which stops forwarding and forgets all flows)"
    )]
    OtherTimeouts,
    /// The pinned source ports are of another pool than the configuration's.
    #[error(
        "the full-nat pool in use is {found} and the configuration asks for {asked}; a pool can't change in use: set [full_nat] back, or run `flowgate unload` first (which stops forwarding and forgets all flows)"
    )]
    OtherPool {
        /// The pinned pool.
        found: String,
        /// The pool that the configuration asks for.
        asked: String,
    },
    /// CPUs beyond those that are counted on.
    #[error(
        "this machine may have CPU {last}, and Flowgate counts on CPUs 0 to {max}; boot it with `nr_cpus={cpus}`", max = MAX_CPUS - 1, cpus = MAX_CPUS
    )]
    ManyCpus {
        /// The highest number that a CPU may have.
        last: u32,
    },
    /// The interface isn't there.
    #[error("interface {name} does not exist; `ip link` lists those that do")]
    NoInterface {
        /// Its name.
        name: String,
    },
    /// Another XDP program is attached.
    #[error(
        "interface {name} already runs another XDP program ({detail}); detach it with `ip link set dev {name} xdp off`, or if it is another Flowgate's, with its `flowgate unload`"
    )]
    Busy {
        /// The interface.
        name: String,
        /// What the kernel said.
        detail: String,
    },
    /// The kernel lacks something.
    #[error(
        "{what} failed: {detail}; Flowgate needs Linux 6.1 or later with BPF JIT and XDP links (this is {kernel})"
    )]
    Kernel {
        /// What was tried.
        what: String,
        /// What the kernel said.
        detail: String,
        /// The running kernel's release.
        kernel: String,
    },
    /// Reading or writing pins and maps.
    #[error("{what} {path}: {source}")]
    Pin {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// The error for a failed BPF call: permissions are told from a kernel that can't.
pub(crate) fn kernel_error(
    what: impl Into<String>,
    error: &(dyn std::error::Error + 'static),
) -> DatapathError {
    let detail = chain(error);
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
        {
            return DatapathError::NotPermitted(detail);
        }
        cause = error.source();
    }
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    DatapathError::Kernel {
        what: what.into(),
        detail,
        kernel: release,
    }
}

/// An error and its causes in one line, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
