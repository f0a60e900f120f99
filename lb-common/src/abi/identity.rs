use super::{Pool, Record};
use crate::hash::FLOW_KEYS;

/// What a flow table was made with: whoever goes on with it must use the same.
/// `version` is written last, so a record without one was never finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Identity {
    /// [`super::VERSION`] of the maps.
    pub version: u32,
    /// 64 less the binary logarithm of the flow table's number of buckets.
    pub flow_shift: u32,
    /// By how many bits the kernel's jiffies are shifted to make a tick.
    pub tick_shift: u32,
    /// [`crate::flow::Timeouts`] in ticks.
    pub timeouts: u32,
    /// How `full-nat`'s source ports lie in their table.
    pub pool: Pool,
    /// [`crate::hash::FlowKeys`].
    pub flow_keys: [u64; FLOW_KEYS],
}

// SAFETY: the fields' sizes add up to the checked size, so there is no padding.
unsafe impl Record for Identity {}
const _: () = assert!(size_of::<Identity>() == 4 * 4 + 8 + FLOW_KEYS * 8);
