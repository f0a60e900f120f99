//! Clocks. A call of `jiffies64` is a load of the kernel's counter, once the
//! verifier has inlined it; reading the real clock costs a hundred times that.

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_jiffies64};
use lb_common::flow::Tick;

use crate::node;

/// The coarse clock that ages flows.
#[inline(always)]
#[must_use]
pub fn tick() -> Tick {
    // SAFETY: the helper takes no arguments and has no preconditions.
    let jiffies = unsafe { bpf_jiffies64() };
    node::shifted(jiffies, node::tick_shift()) as Tick
}

/// Nanoseconds of the kernel's monotonic clock. Not for every packet.
#[inline(always)]
#[must_use]
pub fn monotonic_ns() -> u64 {
    // SAFETY: the helper takes no arguments and has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}
