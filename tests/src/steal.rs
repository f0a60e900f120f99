//! CPU time that a host takes from the machine. While it takes much, whatever keeps times in
//! milliseconds can't, and a bound on time tells nothing about the product.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::wait::let_pass;

/// From this share of all CPUs' time on, a failure isn't believed at once.
const MUCH: f64 = 0.05;
/// How often something is tried that failed while the host took that much.
const ATTEMPTS: usize = 5;
/// How long the host is looked at to see whether it leaves the CPUs alone again.
const LOOK: Duration = Duration::from_secs(1);
/// How long another attempt waits for that.
const PATIENCE: Duration = Duration::from_secs(20);

/// Does `trial`; once more when it fails while the host takes much of the CPUs' time, and says
/// so: as soon as the host leaves them alone, or after 20 s. It has five attempts at most, and
/// one where the host takes little.
///
/// # Errors
///
/// The last attempt's, with the share that the host took of it.
pub fn despite<T>(trial: impl FnMut() -> Result<T>) -> Result<T> {
    told(Times::now, calm, trial)
}

/// Waits until the host leaves the CPUs alone, or patience ends.
fn calm() -> Result<()> {
    let begin = Instant::now();
    loop {
        let before = Times::now()?;
        let_pass(LOOK)?;
        if Times::now()?.stolen_since(&before) < MUCH || begin.elapsed() >= PATIENCE {
            return Ok(());
        }
    }
}

/// Does `trial` likewise, where `times` tells the time, and `calm` waits.
fn told<T>(
    mut times: impl FnMut() -> Result<Times>,
    mut calm: impl FnMut() -> Result<()>,
    mut trial: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        let before = times()?;
        let error = match trial() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let share = times()?.stolen_since(&before);
        let taken = format!("the host took {:.0} % of the CPUs' time", share * 100.0);
        if share < MUCH || attempt == ATTEMPTS {
            return Err(error.context(format!("attempt {attempt}, {taken}")));
        }
        eprintln!("tried again, for {taken}: {error:#}");
        calm()?;
        attempt += 1;
    }
}

/// What all CPUs have spent since the machine's start, in the kernel's units.
struct Times {
    all: u64,
    stolen: u64,
}

impl Times {
    fn now() -> Result<Self> {
        let path = "/proc/stat";
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("cannot make sense of {path}"))
    }

    /// The first line: user, nice, system, idle, iowait, irq, softirq, steal, and two that are in
    /// user and nice already (proc(5)).
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let fields: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
        let fields = fields.ok()?;
        let spent = fields.get(..8)?;
        Some(Self {
            all: spent.iter().sum(),
            stolen: spent[7],
        })
    }

    /// The stolen part of the time since then.
    fn stolen_since(&self, before: &Times) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        // Differences of some millions at most.
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn the_stolen_share_is_told() {
        let before = Times::parse("cpu  100 0 50 800 10 0 5 35 7 7\ncpu0 1 2 3\n").unwrap();
        let after = Times::parse("cpu  110 0 60 830 10 0 5 85 9 9\n").unwrap();
        assert!((after.stolen_since(&before) - 0.5).abs() < 1e-9);
        assert_eq!(before.stolen_since(&before), 0.0);
        for text in [
            "",
            "cpu 1 2 3",
            "cpu a b c d e f g h",
            "intr 1 2 3 4 5 6 7 8",
        ] {
            assert!(Times::parse(text).is_none(), "{text:?}");
        }
    }

    /// How often a trial is made that fails `failures` times, while the host takes that much of
    /// 100, and whether it passes in the end. Between two attempts there is one wait.
    fn attempts(failures: usize, stolen: u64) -> (usize, bool) {
        let mut now = 0;
        let times = || {
            now += 1;
            Ok(Times {
                all: now * 100,
                stolen: now * stolen,
            })
        };
        let (mut made, mut waited) = (0, 0);
        let calm = || {
            waited += 1;
            Ok(())
        };
        let done = told(times, calm, || {
            made += 1;
            if made <= failures {
                bail!("failed");
            }
            Ok(())
        });
        assert_eq!(waited + 1, made);
        (made, done.is_ok())
    }

    #[test]
    fn only_a_host_that_takes_much_excuses() {
        assert_eq!(attempts(0, 90), (1, true));
        assert_eq!(attempts(1, 4), (1, false));
        assert_eq!(attempts(1, 5), (2, true));
        assert_eq!(attempts(4, 60), (5, true));
        assert_eq!(attempts(5, 60), (5, false));
    }
}
