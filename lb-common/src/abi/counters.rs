use super::Record;
use crate::verdict::VERDICT_SLOTS;

/// Packets by verdict, counted by each CPU for itself: whole cache lines of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct VerdictCounts(pub [u64; VERDICT_SLOTS as usize]);

/// What went to a backend, or came from it, counted by each CPU for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C, align(16))]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Their bytes: whole frames as they came, without the frame check sequence.
    pub bytes: u64,
}

/// Where a service's round robin stands, for each CPU by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Cursor {
    /// The next place in the wheel; one beyond its end is the first.
    pub next: u64,
}

// SAFETY: u64s, nothing else.
unsafe impl Record for VerdictCounts {}
const _: () = assert!(size_of::<VerdictCounts>() == VERDICT_SLOTS as usize * 8);
const _: () = assert!(size_of::<VerdictCounts>().is_multiple_of(64));

// SAFETY: two u64.
unsafe impl Record for Traffic {}
const _: () = assert!(size_of::<Traffic>() == 16);

// SAFETY: one u64.
unsafe impl Record for Cursor {}
const _: () = assert!(size_of::<Cursor>() == 8);
