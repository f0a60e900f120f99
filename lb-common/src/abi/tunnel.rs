use super::{Address, Record};

/// What the outer headers of a tunnelled backend's packets say. Indexed by backend
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Tunnel {
    /// The outer source address, less the bits that vary.
    pub source: Address,
    /// Which of its bits vary by flow: ones in these places.
    pub varying: Address,
    /// GUE: the destination port, in network byte order.
    pub port: u16,
    /// Zero.
    pub reserved: [u8; 30],
}

impl Tunnel {
    /// None.
    pub const NONE: Tunnel = Tunnel {
        source: [0; 4],
        varying: [0; 4],
        port: 0,
        reserved: [0; 30],
    };
}

// SAFETY: the fields' sizes add up to the checked size, so there is no padding; integers
// take every bit pattern.
unsafe impl Record for Tunnel {}
const _: () = assert!(16 + 16 + 2 + 30 == size_of::<Tunnel>());
const _: () = assert!(size_of::<Tunnel>() == 64);
