//! How much a configuration may ask for.

/// Services of one node.
pub const MAX_SERVICES: usize = 4_096;

/// Backends of one node, counted once for each service they serve.
pub const MAX_BACKENDS: usize = 65_535;

/// `nat` services that may share one backend address, port and protocol: on the
/// way back the data plane tries each of them.
pub const MAX_NAT_SHARED: usize = 4;

/// A backend's greatest weight.
pub const MAX_WEIGHT: u16 = 256;

/// The smallest flow table, in flows.
pub const MIN_FLOWS: u32 = 1_024;

/// The largest flow table, in flows: 2 GiB at 8 bytes each.
pub const MAX_FLOWS: u32 = 1 << 28;

/// The flow table's size when the configuration doesn't give one, in flows.
pub const DEFAULT_FLOWS: u32 = 1_000_000;

/// The largest configuration file, in bytes: many times what the most services
/// and backends take, and too little to exhaust the memory.
pub const MAX_FILE: u64 = 64 << 20;
