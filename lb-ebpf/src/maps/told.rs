use super::TOO_BIG;
use crate::clock;

/// Senders that one CPU tells in one window (RFC 4443 section 2.4 (f) asks for a bound;
/// Linux has as many in a second by default).
const MOST: u64 = 1_000;
/// Length of a window: this many bits of the clock in ns, about a second.
const WINDOW_BITS: u32 = 30;

/// Whether one more sender may be told that its packet was too big.
#[inline(always)]
#[must_use]
pub fn may_tell() -> bool {
    let Some(told) = TOO_BIG.get_ptr_mut(0) else {
        return false;
    };
    let window = clock::monotonic_ns() >> WINDOW_BITS;
    // SAFETY: two words of this CPU's own, which no one else writes.
    let told = unsafe { &mut *told };
    if told[0] != window {
        *told = [window, 0];
    }
    told[1] += 1;
    told[1] <= MOST
}
