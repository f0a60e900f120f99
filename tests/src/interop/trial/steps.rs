//! What each step does, and what has to come of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::{DEADLINE, Outcome, SLACK, Step, Trial};
use crate::{
    interop::{
        answers::EVERY,
        wire::{HIGH, LOW, Node},
    },
    process::how,
    wait::slowness,
};

/// Stops of a Flowgate that has lost its lease before each.
const STOPS: usize = 3;

impl Trial {
    pub(super) fn step(&mut self, step: Step) -> Result<Outcome> {
        match step {
            Step::Stop => self.stop(),
            Step::Preempt => self.preempt(),
            Step::Split => self.split(),
            Step::Crash => self.crash(),
            Step::NoPreempt => self.no_preempt(),
        }
        .with_context(|| format!("{}, {} first, {}", self.wire, self.first, step.name()))
    }

    /// Stops the first node while it is active: one that has lost its lease by then is brought
    /// back, and stopped again.
    fn stop(&mut self) -> Result<Outcome> {
        let (first, second) = (self.first, self.first.other());
        for _ in 0..STOPS {
            if let Some(outcome) = self.stop_once()? {
                return Ok(outcome);
            }
            self.start(first, HIGH, true)?;
            self.is(first, true)?;
            self.is(second, false)?;
            self.stays(first)?;
        }
        bail!("CPUs stood still, so that {first} had lost its lease before each of {STOPS} stops")
    }

    /// The first node resigns, so the second waits for its skew only. `None`: it had nothing to
    /// give up, and the second had to find that out by itself.
    fn stop_once(&mut self) -> Result<Option<Outcome>> {
        let (first, second) = (self.first, self.first.other());
        let now = Instant::now();
        let was_active = match first {
            Node::Ours => {
                let status = self.flowgate.stop(Signal::TERM)?;
                ensure!(status.success(), "{first} ended by {}", how(status));
                self.left_active()?
            }
            Node::Theirs => {
                self.keepalived.stop()?;
                true
            }
        };
        self.is(second, true)?;
        self.answers.only(second, now, DEADLINE)?;
        if first == Node::Theirs {
            self.keepalived.ended()?;
        }
        let span = self.answers.span(now);
        // keepalived resigns, and then takes its VIPs away when it gets a CPU.
        ensure!(
            span.both <= self.wire.interval(),
            "both answered for {:?}",
            span.both
        );
        if !was_active {
            return Ok(None);
        }
        let took = self.took(second, now, Duration::ZERO, self.wire.skew(LOW))?;
        Ok(Some(Outcome::new(took, span)))
    }

    /// Whether Flowgate, which has ended, was active until it left its group: then it had to
    /// resign. It says so itself; that it had lost its lease instead is believed only if a CPU
    /// stood still for long enough.
    fn left_active(&mut self) -> Result<bool> {
        let log = self.flowgate.log();
        let of_group = log.lines().filter(|line| line.contains("group=\"site\""));
        let mut states = of_group.filter_map(|line| Some(line.split_once(" INFO ")?.1));
        let last = states.next_back().unwrap_or_default();
        ensure!(
            last.starts_with("stopped: "),
            "Flowgate's last word is {last:?}"
        );
        let before = states.next_back().unwrap_or_default();
        if before.starts_with("active: ") {
            self.resigned += 1;
            return Ok(true);
        }
        ensure!(
            before.starts_with("standby: its lease ran out"),
            "Flowgate was active, and left its group after {before:?}"
        );
        // The lease counts from the last advertisement, and the next was due after one interval.
        let (needed, stall) = (self.wire.interval() * 2, self.stalls.longest(self.sure));
        ensure!(
            stall >= needed,
            "Flowgate's lease ran out, and no CPU stood still for {needed:?}, but for {stall:?}"
        );
        eprintln!(
            "{}: a lease was lost while a CPU stood still for {stall:?}",
            self.wire
        );
        Ok(false)
    }

    fn preempt(&mut self) -> Result<Outcome> {
        let (first, second) = (self.first, self.first.other());
        self.start(first, HIGH, true)?;
        let now = Instant::now();
        self.is(first, true)?;
        self.is(second, false)?;
        self.answers.only(first, now, DEADLINE)?;
        let took = self.took(first, now, Duration::ZERO, self.wire.down(HIGH))?;
        let span = self.answers.span(now);
        // The second one hears the first, and gives way when it gets a CPU.
        let longest = self.wire.interval() + SLACK * slowness();
        ensure!(
            span.both <= longest,
            "both answered for {:?}, not {longest:?}",
            span.both
        );
        Ok(Outcome::new(took, span))
    }

    /// Each half has an active node; afterwards the one of higher priority stays.
    fn split(&mut self) -> Result<Outcome> {
        let (first, second) = (self.first, self.first.other());
        let now = Instant::now();
        self.bed.split(true)?;
        self.is(second, true)?;
        self.is(first, true)?;
        self.answers.also(second, now, DEADLINE)?;
        self.answers.also(first, now, DEADLINE)?;
        let earliest = self.wire.interval() * 2;
        self.took(second, now, earliest, self.wire.down(LOW))?;
        let now = Instant::now();
        self.bed.split(false)?;
        self.is(second, false)?;
        self.is(first, true)?;
        self.answers.only(first, now, DEADLINE)?;
        let took = self.answers.last_of(second, now).unwrap_or_default();
        let longest = self.wire.interval() + SLACK * slowness();
        ensure!(
            took <= longest,
            "both answered for {took:?}, not {longest:?}"
        );
        Ok(Outcome::new(took, self.answers.span(now)))
    }

    /// The second node hears nothing, and takes over after three intervals and its skew. A
    /// Flowgate that is dead answers no more by then; a keepalived has left its VIPs to the
    /// kernel, which does.
    fn crash(&mut self) -> Result<Outcome> {
        let (first, second) = (self.first, self.first.other());
        let now = Instant::now();
        match first {
            Node::Ours => self.flowgate.kill()?,
            Node::Theirs => self.keepalived.kill(&self.bed)?,
        }
        self.is(second, true)?;
        let mut ghost = false;
        match first {
            Node::Ours => self.answers.only(second, now, DEADLINE)?,
            Node::Theirs => {
                self.answers.also(second, now, DEADLINE)?;
                ghost = self.answers.only(second, now, EVERY * 20).is_err();
            }
        }
        let earliest = self.wire.interval() * 2;
        let took = self.took(second, now, earliest, self.wire.down(LOW))?;
        let span = self.answers.span(now);
        if first == Node::Ours {
            // Its lease is over before the second takes over.
            let lease = self.wire.down(LOW);
            let last = self.answers.last_of(first, now).unwrap_or_default();
            ensure!(last <= lease, "it answered {last:?} after its end");
            ensure!(span.both.is_zero(), "both answered for {:?}", span.both);
        }
        Ok(Outcome {
            ghost,
            ..Outcome::new(took, span)
        })
    }

    /// The first node comes back and leaves the second one active.
    fn no_preempt(&mut self) -> Result<Outcome> {
        let (first, second) = (self.first, self.first.other());
        self.start(first, HIGH, false)?;
        self.is(first, false)?;
        let now = Instant::now();
        self.stays(second)?;
        let span = self.answers.span(now);
        Ok(Outcome {
            took: None,
            span,
            ghost: false,
        })
    }
}
