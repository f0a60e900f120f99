//! A sender's CPU, and how much of its time the packets took.
//!
//! The softirqs that a sender's system call sets off run within that call, so their time
//! is the thread's; unless they are put off, to the kernel's thread for softirqs of that
//! CPU, whose time is added.

use std::{fs, io, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use flowgate_tests::machine::pin_to;
use rustix::time::{ClockId, clock_gettime};

/// A CPU that this thread is on.
pub struct Turn {
    /// Tells the time of the kernel's thread for softirqs, where it can be found.
    softirqs: Option<PathBuf>,
}

impl Turn {
    /// Takes that CPU, and as far as that is permitted keeps other programs off it: this
    /// thread gets a real-time priority until it ends.
    pub fn take(cpu: usize) -> Result<Self> {
        pin_to(cpu)?;
        let priority = libc::sched_param { sched_priority: 1 };
        // SAFETY: reads one sched_param, which outlives the call.
        let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
        if set != 0 {
            let error = io::Error::last_os_error();
            // Without it the figures only are noisier.
            if error.raw_os_error() != Some(libc::EPERM) {
                return Err(error).context("asking for a real-time priority");
            }
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
