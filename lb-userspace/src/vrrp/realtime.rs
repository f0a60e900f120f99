//! Runs when it is time, whatever else runs.

use std::{num::NonZeroU64, sync::Once};

use nix::libc;

/// Above all ordinary threads, below the kernel's own real-time threads (50).
const PRIORITY: i32 = 20;
/// The best among ordinary threads.
const NICEST: i32 = -20;

/// Makes the calling thread one that runs as soon as it has something to do, if that is
/// allowed (`CAP_SYS_NICE`), else one that goes before others as far as it may. Says whether it is the former.
///
/// A real-time thread that never sleeps is stopped by the kernel for 50 ms in each second. This
/// one sleeps nearly always, and half of the time when it is flooded.
#[must_use]
pub fn urgent() -> bool {
    // An ordinary thread's timers may be 50 µs late otherwise.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    // Programs that it starts don't get the priority.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    let parameter = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // SAFETY: `parameter` is read during the call only; 0 is the calling thread.
    let granted = unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) } == 0;
    if granted {
        // Once: while the kernel is at it, other threads can't have memory.
        static KEPT: Once = Once::new();
        KEPT.call_once(keep_in_memory);
    } else {
        // In Linux, of the calling thread.
        let _ = rustix::process::setpriority_process(None, NICEST);
    }
    granted
}

/// Keeps what the process runs and uses in memory: the code of a take-over has rarely run before,
/// and reading it from a busy disk would take longer than a lease. What is mapped later
/// stays once it has been touched. (Maps of the data plane are the kernel's own memory
/// and not counted.)
fn keep_in_memory() {
    // SAFETY: changes what may be paged out, no memory. Where it isn't allowed, pages
    // may be slow as everywhere.
    unsafe {
        libc::mlockall(libc::MCL_CURRENT);
        libc::mlockall(libc::MCL_FUTURE | libc::MCL_ONFAULT);
    }
}
