use core::ptr;

use lb_common::abi::{Opened, Watch, service_bit, window};

use super::{OPENED, WATCH_COUNTS, field, region};
use crate::flow::compare_exchange;

/// Whether somebody watches, or did not long ago.
#[inline(always)]
#[must_use]
pub fn is_watched() -> bool {
    until() != 0
}

#[inline(always)]
fn until() -> u64 {
    field!(region::watch().at(0), until)
}

/// Whether somebody watches this service now. Of whom nothing has been heard for long is
/// taken to be gone: the next packet finds the switch off.
#[inline(always)]
#[must_use]
pub fn watched(service: u16, now: u64) -> bool {
    let until = until();
    if now >= until {
        // Unless it was prolonged this very moment.
        let watch = region::watch().at(0);
        // SAFETY: a field of a record in a map.
        compare_exchange(unsafe { &raw mut (*watch).until }, until, 0);
        return false;
    }
    let (word, bit) = service_bit(service);
    let services = region::watch().at(0).cast::<u64>();
    // SAFETY: the record's first words, of which the number is one.
    let words = unsafe { ptr::read_volatile(services.add(word)) };
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
    let most = field!(region::watch().at(0), most);
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

const _: () = assert!(core::mem::offset_of!(Watch, services) == 0);
