//! What a probe's result means for one backend, and when to probe again.
//!
//! The machine is pure: the time and the random number come in as arguments.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::ProbeError;
use crate::config::model::HealthCheck;

/// What is known about a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not known yet: it takes no new flows. The first result decides.
    Checking,
    /// It answers.
    Healthy,
    /// It doesn't.
    Failed,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checking => "checking",
            Self::Healthy => "healthy",
            Self::Failed => "failed",
        })
    }
}

/// A change of a backend's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: Health,
    /// What it is now: never [`Health::Checking`].
    pub to: Health,
    /// Why, in words for a person.
    pub reason: String,
}

/// A probe that is under way.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    started: Instant,
    deadline: Instant,
}

/// The health of one backend: probe results and times in, transitions out.
///
/// Call [`started`](Self::started) when [`next_probe`](Self::next_probe) is due,
/// then [`finished`](Self::finished) with its result, at [`deadline`](Self::deadline)
/// at the latest; so no two probes of a backend overlap.
#[derive(Debug)]
pub struct Machine {
    interval: Duration,
    timeout: Duration,
    rise: u32,
    fall: u32,
    jitter_percent: u8,
    health: Health,
    /// Results in a row that speak against `health`.
    against: u32,
    next: Instant,
    in_flight: Option<InFlight>,
}

impl Machine {
    /// A machine that starts from `initial`, with its first probe due `now`.
    pub fn new(check: &HealthCheck, initial: Health, now: Instant) -> Self {
        Self {
            interval: check.interval,
            timeout: check.timeout,
            rise: check.rise,
            fall: check.fall,
            jitter_percent: check.jitter,
            health: initial,
            against: 0,
            next: now,
            in_flight: None,
        }
    }

    /// What is known now.
    pub fn health(&self) -> Health {
        self.health
    }

    /// When the next probe is due; `None` while one is under way.
    pub fn next_probe(&self) -> Option<Instant> {
        self.in_flight.is_none().then_some(self.next)
    }

    /// When the probe that is under way has failed for lack of an answer;
    /// `None` while none is.
    pub fn deadline(&self) -> Option<Instant> {
        self.in_flight.map(|probe| probe.deadline)
    }

    /// A probe started at `now`. Ignored while another is under way.
    pub fn started(&mut self, now: Instant) {
        self.in_flight.get_or_insert(InFlight {
            started: now,
            deadline: now + self.timeout,
        });
    }

    /// The probe that is under way ended at `now`. A success that comes after
    /// the deadline is a failure. `random`, uniform over all its values, sets
    /// the jitter of the next interval. Ignored while none is under way.
    pub fn finished(
        &mut self,
        now: Instant,
        result: Result<(), ProbeError>,
        random: u32,
    ) -> Option<Transition> {
        let probe = self.in_flight.take()?;
        self.next = now.max(probe.started + self.jittered(random));
        let result = match result {
            Ok(()) if now > probe.deadline => Err(ProbeError::Timeout(self.timeout)),
            result => result,
        };
        self.count(result)
    }

    /// Weighs one result against the health so far.
    fn count(&mut self, result: Result<(), ProbeError>) -> Option<Transition> {
        let to = match result {
            Ok(()) => Health::Healthy,
            Err(_) => Health::Failed,
        };
        if to == self.health {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match (self.health, to) {
            (Health::Checking, _) => 1,
            (_, Health::Healthy) => self.rise,
            _ => self.fall,
        };
        if self.against < needed {
            return None;
        }
        let reason = describe(&result, self.against);
        let from = std::mem::replace(&mut self.health, to);
        self.against = 0;
        Some(Transition { from, to, reason })
    }

    /// The interval, lengthened or shortened by up to `jitter_percent`.
    fn jittered(&self, random: u32) -> Duration {
        let spread = self.interval / 100 * u32::from(self.jitter_percent);
        let share = f64::from(random) / f64::from(u32::MAX);
        self.interval - spread + spread.mul_f64(2.0 * share)
    }
}

/// Why the health changes: the last result, and how many like it there were.
fn describe(result: &Result<(), ProbeError>, count: u32) -> String {
    match (result, count) {
        (Ok(()), 1) => "answered".to_owned(),
        (Ok(()), _) => format!("answered {count} times in a row"),
        (Err(error), 1) => error.to_string(),
        (Err(error), _) => format!("{error}, {count} failures in a row"),
    }
}
