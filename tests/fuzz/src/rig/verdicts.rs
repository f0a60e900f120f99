//! The verdict counters, read after each packet.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use anyhow::{Context, Result, bail};
use aya::maps::Map;
use flowgate::datapath::Object;
use lb_common::verdict::{VERDICT_SLOTS, Verdict};

const SLOTS: usize = VERDICT_SLOTS as usize;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;

/// `union bpf_attr`, as the look-up of an element has it.
#[repr(C)]
struct LookUp {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The counters and what they were.
pub struct Verdicts {
    map: OwnedFd,
    /// All CPUs' counters, one after the other.
    now: Vec<u64>,
    before: [u64; SLOTS],
}

impl Verdicts {
    /// Opens the counters of a loaded object.
    ///
    /// # Errors
    ///
    /// When they aren't what they should be.
    pub fn open(object: &Object) -> Result<Self> {
        let Some(Map::PerCpuArray(map)) = object.ebpf.map("VERDICTS") else {
            bail!("the object has no verdict counters");
        };
        let map = map.fd().as_fd().try_clone_to_owned()?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let mut verdicts = Verdicts {
            map,
            now: vec![0; cpus * SLOTS],
            before: [0; SLOTS],
        };
        verdicts.before = verdicts.read()?;
        Ok(verdicts)
    }

    /// The one verdict that has risen, by one, since the last look.
    ///
    /// # Errors
    ///
    /// When it is another number.
    pub fn risen(&mut self) -> Result<Verdict> {
        let now = self.read()?;
        let before = std::mem::replace(&mut self.before, now);
        let mut risen = (0..SLOTS).filter(|&slot| now[slot] != before[slot]);
        let (Some(slot), None) = (risen.next(), risen.next()) else {
            bail!("one packet, and not one verdict was counted");
        };
        if now[slot] - before[slot] != 1 {
            bail!("one packet, counted {} times", now[slot] - before[slot]);
        }
        let named = Verdict::ALL
            .iter()
            .find(|verdict| **verdict as usize == slot);
        named.copied().context("a verdict without a name")
    }

    fn read(&mut self) -> Result<[u64; SLOTS]> {
        let key = 0u32;
        let attributes = LookUp {
            map: self.map.as_raw_fd() as u32,
            padding: 0,
            key: &raw const key as u64,
            value: self.now.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the map is open, the key is a u32, and the value has room for the
        // counters of every possible CPU, which is what the kernel writes.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_ELEM,
                &raw const attributes,
                size_of::<LookUp>(),
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error()).context("reading the verdict counters");
        }
        let mut sum = [0; SLOTS];
        for cpu in self.now.chunks(SLOTS) {
            for (total, count) in sum.iter_mut().zip(cpu) {
                *total += count;
            }
        }
        Ok(sum)
    }
}
