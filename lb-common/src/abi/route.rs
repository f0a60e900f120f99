use super::{Address, Mac, Record};
use crate::tags::Tags;

/// Out of which interface and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Hop {
    /// The interface's place in the device map.
    pub egress: u16,
    /// The longest IP packet that the way to the next hop takes, in bytes.
    pub mtu: u16,
    /// The VLAN tags that frames carry there.
    pub tags: Tags,
    /// MAC of the next hop.
    pub destination: Mac,
    /// MAC of our interface.
    pub source: Mac,
    /// Zero.
    pub reserved: [u8; 4],
}

impl Hop {
    /// Nowhere.
    pub const NONE: Hop = Hop {
        egress: 0,
        mtu: 0,
        tags: Tags::NONE,
        destination: [0; 6],
        source: [0; 6],
        reserved: [0; 4],
    };
}

/// A route for what `nat` sends back to clients. The data plane takes the first
/// whose prefix fits, so they lie most specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Route {
    /// The prefix, as an address lies in the packet.
    pub prefix: u32,
    /// Its mask, likewise.
    pub mask: u32,
    /// 0: the record is the end of the list. 1: `hop` is the next hop.
    /// 2: destinations are neighbours, found in the neighbour map. 3: the kernel's
    /// business.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The next hop.
    pub hop: Hop,
}

impl Route {
    /// The end of the list.
    pub const END: u32 = 0;
    /// By way of `hop`.
    pub const VIA: u32 = 1;
    /// Destinations are neighbours.
    pub const ON_LINK: u32 = 2;
    /// Left to the kernel.
    pub const KERNEL: u32 = 3;
}

/// A [`Route`] for IPv6 clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Route6 {
    /// The prefix, as an address lies in the packet.
    pub prefix: Address,
    /// Its mask, likewise.
    pub mask: Address,
    /// As for [`Route`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The next hop.
    pub hop: Hop,
}

/// The neighbour maps' value; the key is the address as it lies in the packet.
pub type Neighbour = Hop;

// SAFETY: the fields' sizes add up to the checked size, so there is no padding;
// integers and byte arrays take every bit pattern.
unsafe impl Record for Hop {}
const _: () = assert!(size_of::<Hop>() == 2 + 2 + 4 + 6 + 6 + 4);

// SAFETY: as above.
unsafe impl Record for Route {}
const _: () = assert!(size_of::<Route>() == 16 + 24);

// SAFETY: as above.
unsafe impl Record for Route6 {}
const _: () = assert!(size_of::<Route6>() == 16 + 16 + 8 + 24);
