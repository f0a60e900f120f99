//! What is constant for one interface of one node. Numbers are written into the program's
//! instructions before it is loaded, tables into its read-only data. The verifier knows both,
//! so branches that they decide are gone from the loaded program.

use core::ptr;

use aya_ebpf::{helpers::bpf_get_prandom_u32, programs::XdpContext};
use aya_log_ebpf::info;
use lb_common::{
    abi::Pool,
    flow::{Entry, Reluctance, Tick, Timeouts},
    hash::FoldKeys,
};

use crate::{
    outcome::Outcome,
    packet::{Context, opaque},
};

// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static RELUCTANCE: [u16; Reluctance::LENGTH] = [0; Reluctance::LENGTH];
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static FOLD: [u64; 5] = [0; 5];

/// Numbers, each in 64 bits. To the compiler they are addresses of another program's
/// variables, loaded by an instruction that it knows nothing of: userspace puts the number
/// where such an address would be.
macro_rules! constants {
    ($($(#[doc = $doc:literal])+ $visible:vis $function:ident = $name:ident;)+) => {
        #[cfg(target_arch = "bpf")]
        mod symbols {
            // SAFETY: nothing is read or written there.
            unsafe extern "C" {
                $(pub static $name: u8;)+
            }
        }

        $(
            $(#[doc = $doc])+
            #[inline(always)]
            #[must_use]
            $visible fn $function() -> u64 {
                #[cfg(target_arch = "bpf")]
                {
                    let number: u64;
                    // Not `pure`, for then the compiler would keep it on the stack rather than
                    // load it again.
                    // SAFETY: loads a number into a register.
                    unsafe {
                        core::arch::asm!(
                            "{number} = {name} ll",
                            number = out(reg) number,
                            name = sym symbols::$name,
                            options(nomem, nostack),
                        );
                    }
                    number
                }
                #[cfg(not(target_arch = "bpf"))]
                0
            }
        )+
    };
}

constants! {
    /// What the flow table's homes are found by: [`lb_common::flow::home_shift`].
    pub home_shift = HOME_SHIFT;
    /// By how many bits the kernel's jiffies are shifted to make a tick.
    pub tick_shift = TICK_SHIFT;
    /// The place in the device map of the interface that the program is attached to.
    pub egress = EGRESS;
    /// A mask that keeps the number of a bucket of ports inside their table.
    pub port_mask = PORT_MASK;
    /// CPUs that have a block of counters: one more than the highest number that a CPU of this
    /// machine can have.
    pub cpus = CPUS;
    /// The interface's MAC address as it lies in a packet, in the upper 48 bits.
    pub mac_above = MAC_ABOVE;
    /// When entries expire: [`Timeouts::bits`].
    timeout_bits = FLOW_TIMEOUTS;
    /// How `full-nat`'s source ports lie in their table: [`Pool::bits`].
    pool_bits = POOL_SHAPE;
    /// Whether frames may lie in several buffers: 1 or 0.
    buffers = BUFFERS;
    /// One packet in this many is logged; 0 for none.
    sampled = SAMPLE;
}

/// `number` shifted right by one of these constants that is below 64: without the mask that the
/// compiler would put before it.
#[inline(always)]
#[must_use]
pub fn shifted(number: u64, by: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: one instruction between two registers.
        unsafe {
            core::arch::asm!(
                "{number} >>= {by}",
                number = inout(reg) number,
                by = in(reg) by,
                options(pure, nomem, nostack),
            );
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        number >> (by & 63)
    }
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
    buffers() != 0
}

/// The interface's MAC address in the low 48 bits, as it lies in a packet.
#[inline(always)]
#[must_use]
pub fn mac() -> u64 {
    mac_above() >> 16
}

/// When entries expire.
#[inline(always)]
#[must_use]
pub fn timeouts() -> Timeouts {
    Timeouts::from_bits(timeout_bits() as u32)
}

/// Tells how reluctantly the slot of an entry is given to a new flow, in this tick.
#[inline(always)]
pub fn reluctance(now: Tick) -> impl Fn(Entry) -> u64 {
    // SAFETY: the beginning of a tick's part lies inside the array.
    let start = unsafe {
        (&raw const RELUCTANCE)
            .cast::<u16>()
            .add(Reluctance::start(now))
    };
    // One number for all entries that are looked at.
    let start = opaque(start as u64);
    move |entry| {
        let place = Reluctance::place(entry) as u64;
        #[cfg(target_arch = "bpf")]
        {
            let reluctance: u64;
            // SAFETY: the part has room for all places. (The compiler would copy `start` first.)
            unsafe {
                core::arch::asm!(
                    "{at} += {start}",
                    "{reluctance} = *(u16 *)({at} + 0)",
                    at = inout(reg) place << 1 => _,
                    start = in(reg) start,
                    reluctance = out(reg) reluctance,
                    options(readonly, nostack),
                );
            }
            reluctance
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: the part has room for all places; volatile, since the loader gives the array
        // other values than the compiler sees here.
        unsafe {
            u64::from(ptr::read_volatile(
                (start as *const u16).add(place as usize),
            ))
        }
    }
}

/// How `full-nat`'s source ports lie in their table.
#[inline(always)]
#[must_use]
pub fn pool() -> Pool {
    Pool::from_bits(pool_bits())
}

/// The keys that fold IPv6 addresses.
#[inline(always)]
#[must_use]
pub fn fold_keys() -> FoldKeys {
    // SAFETY: a static of that type; volatile as above.
    FoldKeys(unsafe { ptr::read_volatile(&raw const FOLD) })
}

/// Logs one packet in so many; where none is to be, the kernel drops this code while it loads
/// the program.
#[inline(always)]
pub fn sample(context: Context, outcome: Outcome) {
    let one_in = sampled() as u32;
    // SAFETY: the helper takes no arguments and has no preconditions.
    if one_in != 0 && unsafe { bpf_get_prandom_u32() } % one_in == 0 {
        log(context, outcome.number());
    }
}

/// By itself, so that nothing is put on the stack for it where it isn't called.
#[inline(never)]
fn log(context: Context, verdict: u32) {
    let context = &XdpContext::new(context);
    let length = context.data_end() - context.data();
    info!(context, "verdict={} length={}", verdict, length);
}
