//! What the program tells of new connections while somebody watches.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use lb_common::abi::{Opened, Watch, WatchCount};

use super::{
    DatapathError, Object, kernel_error,
    memory::Shared,
    object::{OPENED, WATCH_COUNTS},
    regions::WATCH,
    tables::Plain,
};

/// The switch by which the program tells of new connections, and its counts.
pub struct Switch {
    watch: Shared<Watch>,
    counts: PerCpuArray<MapData, Plain<WatchCount>>,
}

impl Switch {
    /// Opens the switch of a loaded object.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    ///
    /// # Panics
    ///
    /// When the object lacks it, or it was taken before.
    pub fn open(object: &mut Object) -> Result<Self, DatapathError> {
        let counts = object.ebpf.take_map(WATCH_COUNTS);
        let counts = counts.expect("the object has this map");
        Ok(Switch {
            watch: object.shared(WATCH)?,
            counts: PerCpuArray::try_from(counts).expect("the map has its kind by its declaration"),
        })
    }

    /// Says what is watched.
    pub fn set(&self, watch: &Watch) {
        self.watch.store(0, watch);
    }

    /// What is watched.
    #[must_use]
    pub fn get(&self) -> Watch {
        self.watch.load(0)
    }

    /// New connections that the program has not told of, since the maps were made.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    pub fn untold(&self) -> Result<u64, DatapathError> {
        let counts = self.counts.get(&0, 0);
        let counts = counts.map_err(|e| kernel_error("reading what was not told", &e))?;
        Ok(counts.iter().map(|Plain(count)| count.untold).sum())
    }
}

/// The ring in which new connections are told. Its descriptor is readable when there
/// are some.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    /// Opens the ring of a loaded object.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    ///
    /// # Panics
    ///
    /// When the object lacks it, or it was taken before.
    pub fn open(object: &mut Object) -> Result<Self, DatapathError> {
        let map = object.ebpf.take_map(OPENED).expect("the object has it");
        RingBuf::try_from(map)
            .map(Ring)
            .map_err(|e| kernel_error("mapping the memory of OPENED", &e))
    }
}

/// The oldest connection that hasn't been read yet.
impl Iterator for Ring {
    type Item = Opened;

    fn next(&mut self) -> Option<Opened> {
        loop {
            let item = self.0.next()?;
            if let Some(opened) = read(&item) {
                return Some(opened);
            }
        }
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// `None` for what isn't as long as a record.
fn read(bytes: &[u8]) -> Option<Opened> {
    if bytes.len() != size_of::<Opened>() {
        return None;
    }
    // SAFETY: there are as many bytes as a record has, and any bit pattern is one (Record).
    Some(unsafe { bytes.as_ptr().cast::<Opened>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_the_program_writes_it() {
        let mut bytes = [0; 56];
        bytes[..8].copy_from_slice(&7u64.to_le_bytes());
        bytes[8..12].copy_from_slice(&[198, 51, 100, 7]);
        bytes[24..28].copy_from_slice(&[203, 0, 113, 10]);
        bytes[40..44].copy_from_slice(&[0x9d, 0x78, 0, 80]);
        bytes[44..48].copy_from_slice(&[3, 0, 5, 0]);
        bytes[48] = 6;
        let opened = read(&bytes).expect("a record");
        assert_eq!(opened.at, 7);
        assert_eq!(opened.client, lb_common::abi::ipv4([198, 51, 100, 7]));
        assert_eq!(opened.vip, lb_common::abi::ipv4([203, 0, 113, 10]));
        assert_eq!(u16::from_be(opened.client_port), 40_312);
        assert_eq!(u16::from_be(opened.vip_port), 80);
        assert_eq!((opened.backend, opened.service), (3, 5));
        assert_eq!((opened.protocol, opened.family), (6, 0));
        assert_eq!(read(&bytes[1..]), None);
    }
}
