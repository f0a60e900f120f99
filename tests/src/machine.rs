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
    come_with(1)
}

/// As [`come_first`], above what the product does in time: for what hardly takes any.
pub fn come_before_the_product() -> Result<()> {
    come_with(30)
}

fn come_with(priority: i32) -> Result<()> {
    let priority = libc::sched_param {
        sched_priority: priority,
    };
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

/// How many CPUs the machine has at work.
pub fn online_cpus() -> Result<u64> {
    let path = "/sys/devices/system/cpu/online";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    count_cpus(text.trim()).with_context(|| format!("cannot make sense of {path}: {text}"))
}

/// Counts a list such as `0-3,6`.
fn count_cpus(list: &str) -> Option<u64> {
    list.split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.checked_sub(first)? + 1)
        })
        .sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted() {
        assert_eq!(count_cpus("0"), Some(1));
        assert_eq!(count_cpus("0-1"), Some(2));
        assert_eq!(count_cpus("0-3,6,8-9"), Some(7));
        assert_eq!(count_cpus("3-0"), None);
        assert_eq!(count_cpus("x"), None);
    }
}
