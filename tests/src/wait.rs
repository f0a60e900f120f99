//! Waiting for a condition, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::interrupt;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How many times slower than usual this machine is, by the variable
/// `FLOWGATE_SLOWNESS` (1 to 100; 1 when it isn't set or makes no sense). An emulated
/// one is.
pub fn slowness() -> u32 {
    let variable = std::env::var("FLOWGATE_SLOWNESS");
    let factor = variable.ok().and_then(|text| text.parse().ok());
    factor.map_or(1, |factor: u32| factor.clamp(1, 100))
}

/// Waits until `probe` returns something and returns it. Fails at the deadline
/// with a message that names `what`, at once when `probe` fails, and after Ctrl-C.
/// On a slow machine ([`slowness`]) the deadline is later, and the looks are rarer.
pub fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let (deadline, poll) = (deadline * slowness(), POLL * slowness());
    let begin = Instant::now();
    loop {
        interrupt::check()?;
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if begin.elapsed() > deadline {
            bail!("waited {deadline:?} in vain: {what}");
        }
        thread::sleep(poll);
    }
}

/// Lets time pass, for a measurement that needs a duration; ends early with an
/// error after Ctrl-C.
pub fn let_pass(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        interrupt::check()?;
        thread::sleep(left.min(POLL));
    }
    Ok(())
}
