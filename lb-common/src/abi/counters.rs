use super::Record;

/// What went to and came from one backend, counted by each CPU for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct BackendCounters {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, whole frames without the frame check sequence.
    pub bytes_in: u64,
    /// Packets to clients (`nat` only: with `dsr` they take another way).
    pub packets_out: u64,
    /// Bytes to clients (`nat` only), whole frames as they came from the server.
    pub bytes_out: u64,
    /// Connections scheduled to it.
    pub connections: u64,
}

/// Where a service's round robin stands, for each CPU by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Cursor {
    /// The next place in the wheel; one beyond its end is the first.
    pub next: u64,
}

// SAFETY: u64 fields only.
unsafe impl Record for BackendCounters {}
const _: () = assert!(size_of::<BackendCounters>() == 40);

// SAFETY: one u64.
unsafe impl Record for Cursor {}
const _: () = assert!(size_of::<Cursor>() == 8);
