//! What the maps cost in memory, as the kernel counts it.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::maps::{MapData, MapType};

use super::{DatapathError, kernel_error, object::SHARED_MAPS, regions};

/// A map and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSize {
    /// Its name.
    pub name: &'static str,
    /// Memory that the kernel holds for it, in bytes.
    pub bytes: u64,
    /// How many elements it has room for.
    pub elements: u32,
    /// Bytes of one element's value; of a map that has one for each CPU, on each.
    pub value: u32,
}

/// The sizes of the pinned maps in `directory`.
///
/// # Errors
///
/// [`DatapathError::NotPermitted`] or [`DatapathError::Kernel`].
pub fn sizes(directory: &Path) -> Result<Vec<MapSize>, DatapathError> {
    let size = |&name| size(&directory.join(name), name);
    regions::NAMES
        .iter()
        .chain(&SHARED_MAPS)
        .map(size)
        .collect()
}

fn size(path: &Path, name: &'static str) -> Result<MapSize, DatapathError> {
    let failed = |e: &(dyn std::error::Error + 'static)| {
        kernel_error(format!("looking at {}", path.display()), e)
    };
    let map = MapData::from_pin(path).map_err(|e| failed(&e))?;
    let info = map.info().map_err(|e| failed(&e))?;
    let is_per_cpu = matches!(
        info.map_type(),
        Ok(MapType::PerCpuArray | MapType::PerCpuHash | MapType::LruPerCpuHash)
    );
    let cpus = match is_per_cpu {
        true => aya::util::nr_cpus().map_err(|(_, e)| failed(&e))?,
        false => 1,
    };
    let (elements, value) = (info.max_entries(), info.value_size());
    let locked = locked(map.fd().as_fd().as_raw_fd()).map_err(|e| failed(&e))?;
    let values = u64::from(elements) * u64::from(value) * cpus as u64;
    Ok(MapSize {
        name,
        bytes: locked.unwrap_or(values),
        elements,
        value,
    })
}

/// What the kernel says that a map's memory is (`memlock`, proc_pid_fdinfo(5)).
fn locked(fd: i32) -> io::Result<Option<u64>> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    Ok(memlock(&text))
}

fn memlock(text: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))?;
    // Kernels that don't count say 0.
    value.trim().parse().ok().filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "pos:\t0\nflags:\t02000002\nmap_type:\t2\nmemlock:\t8192\nfrozen:\t0\n";
        assert_eq!(memlock(text), Some(8_192));
        assert_eq!(memlock("memlock:\t0\n"), None);
        assert_eq!(memlock("pos:\t0\n"), None);
    }
}
