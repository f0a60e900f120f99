//! Arithmetic in just these instructions: the compiler can't rewrite them.

use lb_common::arithmetic::Arithmetic;

use crate::packet::opaque;

/// See there.
pub struct Exact;

impl Arithmetic for Exact {
    #[inline(always)]
    fn opaque(number: u64) -> u64 {
        opaque(number)
    }

    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    fn differ(one: u64, other: u64) -> u64 {
        let mut one = one;
        // SAFETY: arithmetic between registers.
        unsafe {
            core::arch::asm!("{0} ^= {1}", inout(reg) one, in(reg) other, options(nomem, nostack));
        }
        one
    }

    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    fn less(one: u64, other: u64) -> u64 {
        let mut less = other;
        // How much less `one` is, or nothing, is added to the other. Not `pure`, or the compiler does it
        // for all of a bucket's slots together, and keeps them on the stack until then.
        // SAFETY: arithmetic between registers.
        unsafe {
            core::arch::asm!(
                "{by} -= {less}",
                "{sign} = {by}",
                "{sign} s>>= 63",
                "{by} &= {sign}",
                "{less} += {by}",
                by = inout(reg) one => _,
                less = inout(reg) less,
                sign = out(reg) _,
                options(nomem, nostack),
            );
        }
        less
    }
}
