//! Memory that the data plane reads while we write it.

use std::{
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::AsRawFd as _,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU64, Ordering},
};

use lb_common::abi::Record;
use memmap2::{MmapOptions, MmapRaw};

/// An array of records, in a memory-mapped map or (for tests) in ordinary memory.
///
/// Records are read and written word by word, each word of 8 bytes with one load or
/// store; a reader may see some words of a record old and others new.
pub struct Shared<T> {
    memory: Memory,
    length: u32,
    records: PhantomData<T>,
}

enum Memory {
    Map(MmapRaw),
    Heap(Box<[AtomicU64]>),
}

impl<T: Record> Shared<T> {
    const WORDS: usize = size_of::<T>() / 8;

    /// Maps the array behind a map's file descriptor; `length` is its `max_entries`.
    ///
    /// # Errors
    ///
    /// The kernel's answer to `mmap`: the map is no `BPF_F_MMAPABLE` array, or smaller.
    pub fn map(fd: BorrowedFd<'_>, length: u32) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let bytes = length as usize * size_of::<T>();
        let map = MmapOptions::new().len(bytes).map_raw(fd.as_raw_fd())?;
        Ok(Shared {
            memory: Memory::Map(map),
            length,
            records: PhantomData,
        })
    }

    /// As many zeroed records in ordinary memory.
    #[must_use]
    pub fn zeroed(length: u32) -> Self {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let words = (0..length as usize * Self::WORDS)
            .map(|_| AtomicU64::new(0))
            .collect();
        Shared {
            memory: Memory::Heap(words),
            length,
            records: PhantomData,
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// All words of all records, in order.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        match &self.memory {
            // SAFETY: the mapping is that long, page-aligned, and lives as long as
            // `self`; whatever else writes to it does so by whole words.
            Memory::Map(map) => unsafe {
                std::slice::from_raw_parts(
                    map.as_ptr().cast::<AtomicU64>(),
                    self.length as usize * Self::WORDS,
                )
            },
            Memory::Heap(words) => words,
        }
    }

    /// The words of one record.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`Shared::length`].
    #[must_use]
    pub fn record(&self, index: u32) -> &[AtomicU64] {
        let start = index as usize * Self::WORDS;
        &self.words()[start..start + Self::WORDS]
    }

    /// Reads a record.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`Shared::length`].
    #[must_use]
    pub fn load(&self, index: u32) -> T {
        let mut record = MaybeUninit::<T>::uninit();
        for (i, word) in self.record(index).iter().enumerate() {
            // SAFETY: T is a whole number of words, and i is below that number.
            unsafe {
                record
                    .as_mut_ptr()
                    .cast::<u64>()
                    .add(i)
                    .write_unaligned(word.load(Ordering::Acquire))
            };
        }
        // SAFETY: every word was written, and any bit pattern is a T (Record).
        unsafe { record.assume_init() }
    }

    /// Writes a record, first word first. Words that stay as they are aren't written.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`Shared::length`].
    pub fn store(&self, index: u32, record: &T) {
        for (word, value) in self.record(index).iter().zip(words_of(record)) {
            if word.load(Ordering::Relaxed) != value {
                word.store(value, Ordering::Release);
            }
        }
    }

    /// Whether the record at `index` is this one.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`Shared::length`].
    #[must_use]
    pub fn is(&self, index: u32, record: &T) -> bool {
        let there = self.record(index).iter();
        there
            .map(|word| word.load(Ordering::Acquire))
            .eq(words_of(record))
    }
}

/// The words of a record, in their order.
pub(super) fn words_of<T: Record>(record: &T) -> impl Iterator<Item = u64> {
    (0..size_of::<T>() / 8).map(|i| {
        // SAFETY: T is a whole number of words without padding (Record), and i is below
        // that number.
        unsafe {
            std::ptr::from_ref(record)
                .cast::<u64>()
                .add(i)
                .read_unaligned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::abi::{Backend, ipv4};

    #[test]
    fn what_is_stored_is_loaded() {
        let shared = Shared::<Backend>::zeroed(3);
        let backend = Backend {
            address: ipv4([10, 0, 0, 1]),
            port: 80,
            state: 1,
            destination: [1, 2, 3, 4, 5, 6],
            ..Backend::FREE
        };
        shared.store(1, &backend);
        assert_eq!(shared.load(1), backend);
        assert_eq!(shared.load(0), Backend::FREE);
        assert_eq!(shared.load(2), Backend::FREE);
    }
}
