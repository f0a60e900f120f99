//! How much is looked at while a plan is made: a test of that finds, on any machine, what
//! takes more than its share of time at the largest size.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// So many numbers or places are looked at.
#[inline]
pub(super) fn count(steps: u64) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + steps);
    #[cfg(not(test))]
    let _ = steps;
}

/// How many were, by this thread, while something was done.
#[cfg(test)]
pub(super) fn of<T>(what: impl FnOnce() -> T) -> (T, u64) {
    let before = STEPS.get();
    let done = what();
    (done, STEPS.get() - before)
}
