use core::ptr;

use lb_common::abi::{Opened, Watch, service_bit, window};

use super::{OPENED, WATCH_COUNTS};
use crate::flow::compare_exchange;

/// What is watched. Of a section of its own, which is a map that all interfaces' programs
/// share; a word of it is one load, without a look-up.
#[unsafe(no_mangle)]
// SAFETY: the loader makes a map of each such section, and this is the only static in it.
#[unsafe(link_section = ".bss.watch")]
static mut WATCH: Watch = Watch::OFF;

/// Whether somebody watches, or did not long ago.
#[inline(always)]
#[must_use]
pub fn is_watched() -> bool {
    until() != 0
}

#[inline(always)]
fn until() -> u64 {
    // SAFETY: a static of that type; volatile, since userspace writes it.
    unsafe { ptr::read_volatile(&raw const WATCH.until) }
}

/// Whether somebody watches this service now. Of whom nothing has been heard for long is
/// taken to be gone: the next packet finds the switch off.
#[inline(always)]
#[must_use]
pub fn watched(service: u16, now: u64) -> bool {
    let until = until();
    if now >= until {
        // Unless it was prolonged this very moment.
        compare_exchange((&raw mut WATCH).cast(), until, 0);
        return false;
    }
    let (word, bit) = service_bit(service);
    // SAFETY: as above; the number is below that of the words.
    let words = unsafe { ptr::read_volatile((&raw const WATCH.services).cast::<u64>().add(word)) };
    words & bit != 0
}

/// Tells of a connection, unless this CPU has told of as many as it may. Those that are
/// not told of are counted.
#[inline(always)]
pub fn tell(now: u64, opened: impl FnOnce() -> Opened) {
    let Some(count) = WATCH_COUNTS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a record of this CPU's own, which no one else writes.
    let count = unsafe { &mut *count };
    // SAFETY: as for `until`.
    let most = unsafe { ptr::read_volatile(&raw const WATCH.most) };
    if !count.admits(window(now), most) {
        return;
    }
    match OPENED.reserve::<Opened>(0) {
        Some(mut entry) => {
            entry.write(opened());
            entry.submit(0);
        }
        None => count.untold += 1,
    }
}

const _: () = assert!(core::mem::offset_of!(Watch, until) == 0);
