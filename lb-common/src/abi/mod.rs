//! The records in the maps. All are `repr(C)`, have no padding that is not
//! named, and their sizes are checked when this is compiled.
//!
//! Userspace writes records of memory-mapped maps word by word (8 bytes), each
//! word with one store, and the data plane reads them so: fields that must
//! change together share a word.

mod backend;
mod counters;
mod endpoint;
mod identity;
mod route;

pub use backend::{Backend, BackendState, Forward};
pub use counters::{BackendCounters, Cursor};
pub use endpoint::{Endpoint, Kind, NO_DEADLINE, WHEEL_CHUNK, Wheel, WheelChunk, selector};
pub use identity::Identity;
pub use route::{Hop, Neighbour, Route};

use crate::flow::BUCKET_SLOTS;

/// Changes with any change of a record's layout or of a map's size. Pinned maps
/// of another version are not touched.
pub const VERSION: u32 = 1;

/// A record in a map.
///
/// # Safety
///
/// The type is `repr(C)`, has no padding bytes, a size that is a multiple of 8,
/// and every bit pattern is a value of it.
pub unsafe trait Record: Copy + 'static {}

/// One cache line of flows.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Bucket {
    /// [`crate::flow::Entry`] words.
    pub entries: [u64; BUCKET_SLOTS],
}

/// An IPv4 address as the maps hold it: the first word as it lies in the packet,
/// the others zero. Room for IPv6.
pub type Address = [u32; 4];

/// A MAC address.
pub type Mac = [u8; 6];

/// The map form of an IPv4 address.
#[must_use]
pub const fn ipv4(octets: [u8; 4]) -> Address {
    [u32::from_ne_bytes(octets), 0, 0, 0]
}

// SAFETY: u64 itself.
unsafe impl Record for u64 {}
// SAFETY: eight u64, nothing else.
unsafe impl Record for Bucket {}
const _: () = assert!(size_of::<Bucket>() == 64);
