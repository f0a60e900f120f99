//! The CPUs that count.

use std::{fs, io};

use lb_common::limits::MAX_CPUS;

use super::{DatapathError, kernel_error};

/// The CPUs that this machine may ever have, as the kernel lists them.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// How many blocks of counters it takes for each CPU to have that of its number: one more
/// than the highest number that a CPU of this machine may have.
///
/// # Errors
///
/// [`DatapathError::ManyCpus`], or [`DatapathError::Kernel`] when the kernel doesn't say.
pub fn blocks() -> Result<u32, DatapathError> {
    let failed = |e: &io::Error| kernel_error(format!("reading {POSSIBLE}"), e);
    let list = fs::read_to_string(POSSIBLE).map_err(|e| failed(&e))?;
    let last = last(&list).ok_or_else(|| {
        let reason = format!("`{}` is no list of CPUs", list.trim());
        failed(&io::Error::new(io::ErrorKind::InvalidData, reason))
    })?;
    match last {
        ..MAX_CPUS => Ok(last + 1),
        last => Err(DatapathError::ManyCpus { last }),
    }
}

/// The highest number of a list as the kernel writes it: ranges in rising order.
fn last(list: &str) -> Option<u32> {
    let range = list.trim().rsplit(',').next()?;
    range.rsplit('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_blocks_too() {
        assert_eq!(last("0\n"), Some(0));
        assert_eq!(last("0-3\n"), Some(3));
        assert_eq!(last("0,2-7,12\n"), Some(12));
        assert_eq!(last("\n"), None);
    }

    #[test]
    fn this_machine_has_cpus() {
        assert!(blocks().unwrap() >= 1);
    }
}
