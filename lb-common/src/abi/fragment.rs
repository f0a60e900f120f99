use super::{Address, Record};

/// What tells the fragments of one packet from those of others (RFC 791 section 3.2,
/// RFC 8200 section 4.5); addresses as they lie in the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Identification, as it lies in the packet.
    pub id: u32,
    /// IPv4: the protocol number. IPv6: 256.
    pub protocol: u32,
}

/// Where the fragments of a packet go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Fragment {
    /// Until when, in ns of the kernel's monotonic clock.
    pub deadline: u64,
    /// The flow's hash.
    pub hash: u64,
    /// `full-nat`: bucket × 8 + slot of the flow's port.
    pub port: u32,
    /// The backend's number.
    pub backend: u16,
    /// 0: to the backend. 1: from it to the client.
    pub way: u8,
    /// Zero.
    pub reserved: u8,
}

/// How long later fragments follow their first one, in ns (RFC 791 section 3.2 gives
/// reassembly 15 s, RFC 8200 section 4.5 gives it 60 s; this is Linux's default).
pub const FRAGMENT_LIFE: u64 = 30_000_000_000;

// SAFETY: the fields' sizes add up to the checked size, so there is no padding; integers
// take every bit pattern.
unsafe impl Record for FragmentKey {}
const _: () = assert!(size_of::<FragmentKey>() == 16 + 16 + 4 + 4);

// SAFETY: as above.
unsafe impl Record for Fragment {}
const _: () = assert!(size_of::<Fragment>() == 8 + 8 + 4 + 2 + 1 + 1);
