use super::{Address, Record};
use crate::{
    hash::{FlowKeys, Seed},
    wheel::Index,
};

/// What an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A service: VIP, port, protocol.
    Service = 1,
    /// A VIP; port and protocol are zero.
    Vip = 2,
    /// A server of a `nat` service: address, port, protocol.
    Server = 3,
}

/// A VIP that is held without a deadline.
pub const NO_DEADLINE: u64 = u64::MAX;

/// Something that a packet's source or destination may be.
///
/// The record lies in the slot that [`crate::hash::slot`] gives for its key with
/// its group's pilot; userspace chooses pilots so that no two share a slot. A
/// slot whose selector is 0 is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// Port, protocol and kind in one word, see [`selector`].
    pub selector: u32,
    /// Service: the [`Index`] of its scheduler. Others: 0.
    pub index: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Service: its wheel.
    pub wheel: Wheel,
    /// Service: its number. Server: the number of the first backend that it is.
    pub number: u32,
    /// Zero.
    pub reserved2: u32,
    /// VIP: until when it is ours to answer for, in ns of the kernel's monotonic
    /// clock; [`NO_DEADLINE`] for always.
    pub deadline: u64,
    /// Service: its part of its flows' hash. Server: that of its first backend's service.
    pub seed: Seed,
}

/// Where a service's wheel lies. One word, so that a wheel is replaced whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C, align(8))]
pub struct Wheel {
    /// Its first chunk.
    pub chunk: u32,
    /// How many entries it has; 0 when no backend takes new connections.
    pub length: u32,
}

/// Wheel entries of one chunk: a cache line.
pub const WHEEL_CHUNK: u32 = 32;

/// A cache line of a wheel: backend numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct WheelChunk(pub [u16; WHEEL_CHUNK as usize]);

/// Port (as it lies in the packet), protocol and kind in one word.
#[must_use]
#[inline(always)]
pub const fn selector(port: u16, protocol: u8, kind: Kind) -> u32 {
    port as u32 | (protocol as u32) << 16 | (kind as u32) << 24
}

impl Endpoint {
    /// A slot that holds nothing.
    pub const FREE: Endpoint = Endpoint {
        address: [0; 4],
        selector: 0,
        index: 0,
        reserved: [0; 3],
        wheel: Wheel {
            chunk: 0,
            length: 0,
        },
        number: 0,
        reserved2: 0,
        deadline: 0,
        seed: Seed([0; 2]),
    };

    /// A service, of flows that are hashed with `keys`.
    #[must_use]
    pub const fn service(
        keys: &FlowKeys,
        vip: Address,
        port: u16,
        protocol: u8,
        index: Index,
        number: u32,
        wheel: Wheel,
    ) -> Self {
        Endpoint {
            address: vip,
            selector: selector(port, protocol, Kind::Service),
            index: index as u8,
            wheel,
            number,
            seed: keys.seed(vip[0], port, protocol),
            ..Endpoint::FREE
        }
    }

    /// A VIP, held until `deadline`.
    #[must_use]
    pub const fn vip(vip: Address, deadline: u64) -> Self {
        Endpoint {
            address: vip,
            selector: selector(0, 0, Kind::Vip),
            deadline,
            ..Endpoint::FREE
        }
    }

    /// A server that is `backend`, whose service has this seed, in a `nat` service.
    #[must_use]
    pub const fn server(
        address: Address,
        port: u16,
        protocol: u8,
        backend: u16,
        seed: Seed,
    ) -> Self {
        Endpoint {
            address,
            selector: selector(port, protocol, Kind::Server),
            number: backend as u32,
            seed,
            ..Endpoint::FREE
        }
    }
}

// SAFETY: the fields' sizes add up to the checked size, so there is no padding;
// integers take every bit pattern.
unsafe impl Record for Endpoint {}
const _: () = assert!(16 + 4 + 1 + 3 + 8 + 4 + 4 + 8 + 16 == size_of::<Endpoint>());
const _: () = assert!(size_of::<Endpoint>() == 64);

// SAFETY: 32 u16 of 2 bytes fill the checked 64.
unsafe impl Record for WheelChunk {}
const _: () = assert!(size_of::<WheelChunk>() == 64);
