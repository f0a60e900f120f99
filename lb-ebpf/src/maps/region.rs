//! Maps of one element that holds all their records. Where its memory lies is a number
//! in the loaded program, so a record's place is plain arithmetic: no look-up, and
//! nothing that could fail.
//!
//! To the compiler each is a variable of another program. Userspace makes the maps, and
//! writes them into the program's instructions before it loads it.

use lb_common::{
    abi::{
        Address, Backend, Bucket, Cursor, Endpoint, Lease, Load, PortBucket, Route, Route6,
        Traffic, Tunnel, VerdictCounts, Watch, WheelChunk,
    },
    limits,
};

/// The memory of a map: records of one kind.
#[derive(Clone, Copy)]
pub struct Region<T, const LENGTH: usize>(*mut T);

impl<T, const LENGTH: usize> Region<T, LENGTH> {
    /// The record at `index`, modulo their number.
    #[inline(always)]
    #[must_use]
    pub fn at(self, index: u32) -> *mut T {
        const { assert!(LENGTH.is_power_of_two()) };
        // SAFETY: the map has LENGTH records, and the mask keeps the index below that.
        unsafe { self.0.add(index as usize & (LENGTH - 1)) }
    }

    /// The record at `index`, which is below their number in this node's map.
    #[inline(always)]
    #[must_use]
    pub fn inside(self, index: u64) -> *mut T {
        // SAFETY: the caller has bounded the index, and the verifier has seen it.
        unsafe { self.0.add(index as usize) }
    }
}

impl<const LENGTH: usize> Region<Bucket, LENGTH> {
    /// The slot at `index`, which is below their number in this node's map.
    #[inline(always)]
    #[must_use]
    pub fn slot(self, index: u64) -> *mut u64 {
        // SAFETY: as for `inside`.
        unsafe { self.0.cast::<u64>().add(index as usize) }
    }
}

macro_rules! regions {
    ($($(#[doc = $doc:literal])+ $function:ident = $name:ident: [$record:ty; $length:expr];)+) => {
        #[cfg(target_arch = "bpf")]
        mod memory {
            use super::*;

            // SAFETY: userspace has a map of that name and size for each.
            unsafe extern "C" {
                $(pub static mut $name: [$record; { $length as usize }];)+
            }
        }

        $(
            $(#[doc = $doc])+
            #[inline(always)]
            #[must_use]
            pub fn $function() -> Region<$record, { $length as usize }> {
                #[cfg(target_arch = "bpf")]
                return Region((&raw mut memory::$name).cast());
                #[cfg(not(target_arch = "bpf"))]
                return Region(core::ptr::dangling_mut());
            }
        )+
    };
}

regions! {
    /// The flow table. A node's has as many buckets as its configuration asks for.
    flows = FLOWS: [Bucket; limits::flow_buckets(*limits::FLOWS.end())];
    /// The endpoint table.
    endpoints = ENDPOINTS: [Endpoint; limits::ENDPOINT_SLOTS];
    /// The pilots of its groups.
    pilots = PILOTS: [u16; limits::ENDPOINT_GROUPS];
    /// The addresses that are in it.
    known = KNOWN: [u64; limits::KNOWN_BITS / 64];
    /// The backends, by their numbers.
    backends = BACKENDS: [Backend; limits::MAX_BACKENDS + 1];
    /// Their tunnels.
    tunnels = TUNNELS: [Tunnel; limits::MAX_BACKENDS + 1];
    /// Their loads.
    loads = LOADS: [Load; limits::MAX_BACKENDS + 1];
    /// All wheels' places.
    wheels = WHEELS: [WheelChunk; limits::WHEEL_ENTRIES / lb_common::abi::WHEEL_CHUNK];
    /// The addresses of the `full-nat` pool.
    pool = POOL: [Address; limits::MAX_POOL];
    /// Their ports. A node's has as many buckets as its pool.
    ports = PORTS: [PortBucket; limits::MAX_POOL * limits::MAX_PORT_BUCKETS];
    /// How long groups of VIPs are held.
    leases = LEASES: [Lease; limits::MAX_GROUPS];
    /// What is watched.
    watch = WATCH: [Watch; 1];
    /// Routes of IPv4.
    routes = ROUTES: [Route; limits::MAX_ROUTES];
    /// Routes of IPv6.
    routes6 = ROUTES6: [Route6; limits::MAX_ROUTES];
    /// Packets by verdict. A node's has a block for each of its CPUs, as those below have.
    verdicts = VERDICTS: [VerdictCounts; limits::MAX_CPUS];
    /// Where the round robin of services stands, by their numbers.
    cursors = CURSORS: [[Cursor; limits::MAX_SERVICES as usize]; limits::MAX_CPUS];
    /// What came for backends, by their numbers.
    to_backends = TO_BACKENDS: [[Traffic; limits::MAX_BACKENDS as usize + 1]; limits::MAX_CPUS];
    /// What came from them for clients (`nat` only: with `dsr` it takes another way).
    to_clients = TO_CLIENTS: [[Traffic; limits::MAX_BACKENDS as usize + 1]; limits::MAX_CPUS];
    /// Connections that were scheduled to them.
    connections = CONNECTIONS: [[u64; limits::MAX_BACKENDS as usize + 1]; limits::MAX_CPUS];
}
