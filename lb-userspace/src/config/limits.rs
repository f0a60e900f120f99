//! How much a configuration may ask for: what the data plane has room for, in
//! the types that userspace counts in.

use std::ops::RangeInclusive;

use lb_common::limits;

/// Services of one node.
pub const MAX_SERVICES: usize = limits::MAX_SERVICES as usize;

/// Backends of one node, counted once for each service they serve.
pub const MAX_BACKENDS: usize = limits::MAX_BACKENDS as usize;

/// `nat` services that may share one backend address, port and protocol: on the
/// way back the data plane tries each of them.
pub const MAX_NAT_SHARED: usize = limits::MAX_NAT_SHARED as usize;

/// Addresses of the pool of `full-nat`.
pub const MAX_POOL: usize = limits::MAX_POOL as usize;

/// Port ranges of the services of one VIP, any port being one: for a packet to no
/// exact port the data plane tries each of them.
pub const MAX_VIP_RANGES: usize = limits::MAX_VIP_RANGES as usize;

/// Groups of VIPs; the data plane has one more, of those in none.
pub const MAX_GROUPS: usize = limits::MAX_GROUPS as usize - 1;

/// Interfaces of one node.
pub const MAX_INTERFACES: usize = limits::MAX_INTERFACES as usize;

/// A backend's weight.
pub const WEIGHTS: RangeInclusive<u16> = 1..=limits::MAX_WEIGHT;

/// The flow table's size, in flows.
pub const FLOWS: RangeInclusive<u32> = limits::FLOWS;

/// The flow table's size when the configuration doesn't give one, in flows.
pub const DEFAULT_FLOWS: u32 = 1_000_000;

/// The largest configuration file, in bytes: many times what the most services
/// and backends take, and too little to exhaust the memory.
pub const MAX_FILE: u64 = 64 << 20;
