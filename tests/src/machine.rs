//! The machine that figures are of.

use std::{fs, io};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Keeps this thread on the CPU that it is on now, and tells its number.
pub fn pin() -> Result<usize> {
    let cpu = sched_getcpu();
    pin_to(cpu)?;
    Ok(cpu)
}

/// Keeps this thread on that CPU.
pub fn pin_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("staying on CPU {cpu}"))
}

/// Gives this thread a real-time priority until it ends, if that is permitted. It is below that
/// of what the product does in time.
pub fn come_first() -> Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: reads one sched_param, which outlives the call.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
    let error = io::Error::last_os_error();
    // Without it the figures only are noisier.
    if set != 0 && error.raw_os_error() != Some(libc::EPERM) {
        return Err(error).context("asking for a real-time priority");
    }
    Ok(())
}

/// Divides the CPUs that this thread may run on: it keeps all but the last one, which is told.
/// `None` when there is only one.
pub fn set_one_aside() -> Result<Option<usize>> {
    let cpus = cpus()?;
    let [rest @ .., last] = &cpus[..] else {
        return Ok(None);
    };
    if rest.is_empty() {
        return Ok(None);
    }
    let mut set = CpuSet::new();
    rest.iter().for_each(|&cpu| set.set(cpu));
    sched_setaffinity(None, &set).with_context(|| format!("leaving CPU {last}"))?;
    Ok(Some(*last))
}

/// The CPUs that this thread may run on.
pub fn cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("asking which CPUs there are")?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

/// The running kernel's release.
pub fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// The CPU's name.
pub fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}
