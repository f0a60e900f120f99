//! A thread that runs when it is time, whatever else runs; and others, which keep out of its way.

use std::{
    num::NonZeroU64,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
};

use nix::libc;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Above all ordinary threads, below the kernel's own real-time threads (50).
const PRIORITY: i32 = 20;
/// The best among ordinary threads.
const NICEST: i32 = -20;

/// Where the process's urgent thread is.
static URGENT: Seat = Seat::empty();

/// One more than the CPU where an urgent thread was last seen; 0 while there is none.
struct Seat(AtomicUsize);

/// Says that the calling thread is the urgent one, and where it runs.
pub fn here() {
    URGENT.here();
}

/// Says that there is no urgent thread any more.
pub fn gone() {
    URGENT.gone();
}

/// Does `work` on another CPU than the urgent thread's, if there is one: a kernel that isn't
/// preemptible doesn't give a CPU away while it is at work, and loading a program takes it
/// longer than a lease lasts. A real-time thread is woken where it ran before, so it isn't
/// helped by another CPU that is free.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    URGENT.aside(work)
}

impl Seat {
    const fn empty() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn here(&self) {
        self.0.store(sched_getcpu() + 1, Ordering::Relaxed);
    }

    fn gone(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn cpu(&self) -> Option<usize> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }

    fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.cpu().and_then(leave);
        let done = work();
        if let Some(before) = before {
            // Where the CPUs that were allowed have gone, it may stay on the others.
            let _ = sched_setaffinity(None, &before);
        }
        done
    }
}

/// Takes the calling thread off that CPU; gives the CPUs that it was allowed before, if it
/// may run on others and was allowed that one.
fn leave(cpu: usize) -> Option<CpuSet> {
    let before = sched_getaffinity(None).ok()?;
    let mut others = before;
    if !(cpu < CpuSet::MAX_CPU && before.is_set(cpu)) {
        return None;
    }
    others.unset(cpu);
    // The kernel refuses an empty set.
    sched_setaffinity(None, &others).ok()?;
    Some(before)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Where there is one CPU, work is done there. With a seat of its own: other tests' threads
    /// take and leave the process's.
    #[test]
    fn work_is_done_on_another_cpu_and_only_that() {
        let all = sched_getaffinity(None).expect("known");
        let seat = Seat::empty();
        seat.here();
        let urgent = seat.cpu().expect("it is here");
        let look = || (sched_getcpu(), sched_getaffinity(None).expect("known"));
        let (cpu, allowed) = seat.aside(look);
        assert_eq!(sched_getaffinity(None).expect("known"), all);
        if all.count() > 1 {
            assert_ne!(cpu, urgent);
            assert_eq!(allowed.count(), all.count() - 1);
        }
        seat.gone();
        assert_eq!(seat.aside(look).1, all);
    }
}
