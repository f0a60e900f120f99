//! The records in the maps. All are `repr(C)`, have no padding that is not
//! named, and their sizes are checked when this is compiled.
//!
//! Userspace writes records of memory-mapped maps word by word (8 bytes), each
//! word with one store, and the data plane reads them so: fields that must
//! change together share a word.

mod backend;
mod counters;
mod endpoint;
mod fragment;
mod identity;
mod lease;
mod load;
mod ports;
mod route;
mod tunnel;
mod watch;

pub use backend::{Backend, BackendState, Forward};
pub use counters::{Cursor, Traffic, VerdictCounts};
pub use endpoint::{
    Endpoint, Keeping, Kind, Range, WHEEL_CHUNK, Wheel, WheelChunk, carried, family_of, kind_of,
    protocol_of, selector, selector_of,
};
pub use fragment::{FRAGMENT_LIFE, Fragment, FragmentKey};
pub use identity::Identity;
pub use lease::{Lease, NO_DEADLINE, NO_GROUP};
pub use load::Load;
pub use ports::{Owner, Pool, PortBucket};
pub use route::{Hop, Neighbour, Route, Route6};
pub use tunnel::Tunnel;
pub use watch::{Opened, Watch, WatchCount, service_bit, window};

use crate::flow::BUCKET_SLOTS;

/// Changes with any change of a record's layout or of a map's size. Pinned maps
/// of another version are not touched.
pub const VERSION: u32 = 9;

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

/// An address as the maps hold it: the words as they lie in the packet. IPv4 has one, and
/// the others are zero; which family it is, the record tells.
pub type Address = [u32; 4];

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

/// A MAC address.
pub type Mac = [u8; 6];

/// The map form of an IPv4 address.
#[must_use]
pub const fn ipv4(octets: [u8; 4]) -> Address {
    [u32::from_ne_bytes(octets), 0, 0, 0]
}

/// The map form of an IPv6 address.
#[must_use]
pub const fn ipv6(octets: [u8; 16]) -> Address {
    let o = octets;
    [
        u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
        u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
        u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
        u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
    ]
}

// SAFETY: u64 itself.
unsafe impl Record for u64 {}
// SAFETY: four integers, two whole words.
unsafe impl Record for Address {}
// SAFETY: eight u64, nothing else.
unsafe impl Record for Bucket {}
const _: () = assert!(size_of::<Bucket>() == 64);
