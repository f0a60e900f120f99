//! A sender's CPU, and how much of its time the packets took.
//!
//! The softirqs that a sender's system call sets off run within that call, so their time
//! is the thread's; unless they are put off, to the kernel's thread for softirqs of that
//! CPU, whose time is added.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use flowgate_tests::machine::{come_first, pin_to};
use rustix::time::{ClockId, clock_gettime};

/// A CPU that this thread is on.
pub struct Turn {
    /// Tells the time of the kernel's thread for softirqs, where it can be found.
    softirqs: Option<PathBuf>,
}

impl Turn {
    /// Takes that CPU. One of several senders keeps other programs off it, as far as that is
    /// permitted, so that all really send at once. One alone doesn't: before Linux 6.4 it
    /// would keep the kernel's thread for softirqs off as well.
    pub fn take(cpu: usize, is_alone: bool) -> Result<Self> {
        pin_to(cpu)?;
        if !is_alone {
            come_first()?;
        }
        let name = format!("ksoftirqd/{cpu}");
        let entries = fs::read_dir("/proc").context("reading /proc")?.flatten();
        let softirqs = entries.map(|entry| entry.path()).find(|path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        });
        Ok(Self {
            softirqs: softirqs.map(|path| path.join("schedstat")),
        })
    }

    /// The CPU time that this thread and the softirqs of its CPU have taken so far.
    pub fn time(&self) -> Duration {
        let own = clock_gettime(ClockId::ThreadCPUTime);
        let own = own.tv_sec.unsigned_abs() * 1_000_000_000 + own.tv_nsec.unsigned_abs();
        let softirqs = self.softirqs.as_ref().and_then(|path| {
            let text = fs::read_to_string(path).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(own + softirqs.unwrap_or_default())
    }
}
