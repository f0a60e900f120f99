//! What is constant for one interface of one node: read-only data that userspace
//! sets before the program is loaded, so that the verifier sees constants and the
//! JIT folds them away.

use core::ptr;

use aya_ebpf::{helpers::bpf_get_prandom_u32, programs::XdpContext};
use aya_log_ebpf::info;
use lb_common::flow::Timeouts;

use crate::pipeline::Outcome;

#[unsafe(no_mangle)]
static FLOW_SHIFT: u32 = 63;
#[unsafe(no_mangle)]
static FLOW_TIMEOUTS: u32 = 0;
#[unsafe(no_mangle)]
static TICK_SHIFT: u32 = 0;
#[unsafe(no_mangle)]
static IFINDEX: u32 = 0;
#[unsafe(no_mangle)]
static MAC: u64 = 0;
#[unsafe(no_mangle)]
static SAMPLE: u32 = 0;

macro_rules! constants {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $static:ident;)+) => {$(
        $(#[doc = $doc])+
        #[inline(always)]
        #[must_use]
        pub fn $name() -> $type {
            // SAFETY: a static of that type; volatile, since the loader gives it
            // another value than the compiler sees here.
            unsafe { ptr::read_volatile(&raw const $static) }
        }
    )+};
}

constants! {
    /// 64 less the binary logarithm of the number of buckets.
    flow_shift: u32 = FLOW_SHIFT;
    /// By how many bits the kernel's jiffies are shifted to make a tick.
    tick_shift: u32 = TICK_SHIFT;
    /// The interface that the program is attached to.
    ifindex: u32 = IFINDEX;
    /// Its MAC address in the low 48 bits, as it lies in a packet.
    mac: u64 = MAC;
}

/// When entries expire.
#[inline(always)]
#[must_use]
pub fn timeouts() -> Timeouts {
    // SAFETY: as for the constants above.
    Timeouts::from_bits(unsafe { ptr::read_volatile(&raw const FLOW_TIMEOUTS) })
}

/// Logs one packet in `SAMPLE`; none when that is 0, and then the kernel drops this
/// code while it loads the program.
#[inline(always)]
pub fn sample(context: &XdpContext, outcome: &Outcome) {
    // SAFETY: as for the constants above.
    let one_in = unsafe { ptr::read_volatile(&raw const SAMPLE) };
    // SAFETY: the helper takes no arguments and has no preconditions.
    if one_in != 0 && unsafe { bpf_get_prandom_u32() } % one_in == 0 {
        info!(
            context,
            "verdict={} length={}",
            outcome.verdict as u32,
            context.data_end() - context.data()
        );
    }
}
