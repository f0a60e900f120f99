//! What is constant for one interface of one node: read-only data that userspace
//! sets before the program is loaded. The verifier knows it, so branches that it decides
//! are gone from the loaded program; other values stay loads.

use core::ptr;

use aya_ebpf::{helpers::bpf_get_prandom_u32, programs::XdpContext};
use aya_log_ebpf::info;
use lb_common::{
    abi::Pool,
    flow::{Entry, Readiness, Tick, Timeouts},
    hash::FoldKeys,
};

use crate::{outcome::Outcome, packet::opaque};

// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static FLOW_SHIFT: u32 = 63;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static FLOW_TIMEOUTS: u32 = 0;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static READINESS: [u16; Readiness::LENGTH] = [0; Readiness::LENGTH];
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static TICK_SHIFT: u32 = 0;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static EGRESS: u32 = 0;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static MAC: u64 = 0;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static SAMPLE: u32 = 0;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static BUFFERS: u32 = 0;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static POOL_SHAPE: u64 = 0;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static PORT_MASK: u32 = 0;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static CPUS: u32 = 0;
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static FOLD: [u64; 10] = [0; 10];

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
    /// The place in the device map of the interface that the program is attached to.
    egress: u32 = EGRESS;
    /// A mask that keeps the number of a bucket of ports inside their table.
    port_mask: u32 = PORT_MASK;
    /// CPUs that have a block of counters: one more than the highest number that a CPU of this
    /// machine can have.
    cpus: u32 = CPUS;
    /// Its MAC address in the low 48 bits, as it lies in a packet.
    mac: u64 = MAC;
}

/// Not read-only: the verifier takes it for any number. It is 0 and stays so.
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static mut ANYTHING: u64 = 0;

/// The same number, of which the verifier doesn't know which it is: where many ways meet
/// that differ in such a number only, it follows one of them on, not each.
#[inline(always)]
#[must_use]
pub fn any(number: u64) -> u64 {
    // SAFETY: a static of that type, which nobody writes; volatile, since the compiler
    // must not know that.
    number.wrapping_add(unsafe { ptr::read_volatile(&raw const ANYTHING) })
}

/// Whether frames may lie in several buffers.
#[inline(always)]
#[must_use]
pub fn has_buffers() -> bool {
    // SAFETY: as for the constants above.
    unsafe { ptr::read_volatile(&raw const BUFFERS) != 0 }
}

/// When entries expire.
#[inline(always)]
#[must_use]
pub fn timeouts() -> Timeouts {
    // SAFETY: as for the constants above.
    Timeouts::from_bits(unsafe { ptr::read_volatile(&raw const FLOW_TIMEOUTS) })
}

/// Tells how readily the slot of an entry is given to a new flow, in this tick.
#[inline(always)]
pub fn readiness(now: Tick) -> impl Fn(Entry) -> u16 {
    // SAFETY: the beginning of a tick's part lies inside the array.
    let start = unsafe {
        (&raw const READINESS)
            .cast::<u16>()
            .add(Readiness::start(now))
    };
    // One number for all entries that are looked at.
    let start = opaque(start as u64) as *const u16;
    // SAFETY: the part has room for all places; else as for the constants above.
    move |entry| unsafe { ptr::read_volatile(start.add(Readiness::place(entry))) }
}

/// How `full-nat`'s source ports lie in their table.
#[inline(always)]
#[must_use]
pub fn pool() -> Pool {
    // SAFETY: as for the constants above.
    Pool::from_bits(unsafe { ptr::read_volatile(&raw const POOL_SHAPE) })
}

/// The keys that fold IPv6 addresses.
#[inline(always)]
#[must_use]
pub fn fold_keys() -> FoldKeys {
    // SAFETY: as for the constants above.
    FoldKeys(unsafe { ptr::read_volatile(&raw const FOLD) })
}

/// Logs one packet in `SAMPLE`; none when that is 0, and then the kernel drops this
/// code while it loads the program.
#[inline(always)]
pub fn sample(context: &XdpContext, outcome: Outcome) {
    // SAFETY: as for the constants above.
    let one_in = unsafe { ptr::read_volatile(&raw const SAMPLE) };
    // SAFETY: the helper takes no arguments and has no preconditions.
    if one_in != 0 && unsafe { bpf_get_prandom_u32() } % one_in == 0 {
        info!(
            context,
            "verdict={} length={}",
            outcome.number(),
            context.data_end() - context.data()
        );
    }
}
