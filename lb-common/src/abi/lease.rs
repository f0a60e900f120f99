use super::Record;

/// A VIP that belongs to no group is of this one, which is held without a deadline.
pub const NO_GROUP: u32 = 0;

/// A lease without a deadline.
pub const NO_DEADLINE: u64 = u64::MAX;

/// How long this node answers for the VIPs of a group. One word for all of them, so that
/// they move together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C, align(8))]
pub struct Lease {
    /// Nanoseconds of the kernel's monotonic clock; [`NO_DEADLINE`] for always, 0 for not
    /// at all.
    pub deadline: u64,
}

// SAFETY: one u64.
unsafe impl Record for Lease {}
const _: () = assert!(size_of::<Lease>() == 8);
