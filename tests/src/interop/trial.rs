//! One after the other, everything that happens to a pair: the cells of a row of the matrix.

mod steps;

use std::{
    fmt, fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, ensure};

use super::{
    answers::{Answers, Span},
    bed::Bed,
    capture::Capture,
    judge::{self, Seen},
    keepalived::{self, Keepalived},
    stalls::Stalls,
    wire::{HIGH, LOW, Node, Part, Version, Wire},
};
use crate::{
    flowgate::Flowgate,
    wait::{eventually, slowness},
};

/// How long anything that has no time of its own may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// What a busy machine may add to the times of the protocol.
const SLACK: Duration = Duration::from_millis(600);
/// Intervals that a standby that isn't to preempt is watched for: more than it would wait.
const PATIENT: u32 = 5;

/// What happens, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The active node is told to stop, by SIGTERM.
    Stop,
    /// It comes back, with the higher priority.
    Preempt,
    /// The nodes don't hear each other for a while.
    Split,
    /// The active node is killed, by SIGKILL.
    Crash,
    /// It comes back, but isn't to preempt.
    NoPreempt,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Stop,
        Self::Preempt,
        Self::Split,
        Self::Crash,
        Self::NoPreempt,
    ];

    /// The heading of its column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "orderly stop",
            Self::Preempt => "preempt",
            Self::Split => "split and heal",
            Self::Crash => "crash",
            Self::NoPreempt => "no preempt",
        }
    }
}

/// What was seen of a step in which all was as VRRP says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// From the step (of a split: from its end) until who should answers first (or, after a split,
    /// alone). None where nothing is to change.
    pub took: Option<Duration>,
    /// Who answered meanwhile.
    pub span: Span,
    /// keepalived's kernel went on answering after its end.
    pub ghost: bool,
}

/// What became of a row.
#[derive(Debug)]
pub struct Row {
    /// How the nodes speak with each other.
    pub wire: Wire,
    /// Who is active first.
    pub first: Node,
    /// The steps that were made, until one went wrong.
    pub cells: Vec<(Step, Result<Outcome>)>,
    /// What was read of what Flowgate sent.
    pub packets: Result<Seen>,
}

/// A pair at work.
struct Trial {
    wire: Wire,
    first: Node,
    capture: Option<Capture>,
    answers: Answers,
    stalls: Stalls,
    /// When the active node was last known to be that.
    sure: Instant,
    /// How many times Flowgate had to resign.
    resigned: usize,
    flowgate: Flowgate,
    keepalived: Keepalived,
    bed: Bed,
}

/// Makes those steps with a new pair.
///
/// # Errors
/// The pair can't even begin.
pub fn run(wire: Wire, first: Node, steps: &[Step]) -> Result<Row> {
    let mut trial = Trial::new(wire, first)?;
    let mut cells = Vec::new();
    let begun = trial.begin().map_err(|error| trial.explain(error));
    begun.with_context(|| format!("{wire}, {first} first"))?;
    for &step in steps {
        let outcome = trial.step(step).map_err(|error| trial.explain(error));
        let failed = outcome.is_err();
        cells.push((step, outcome));
        if failed {
            break;
        }
    }
    let packets = trial.judge().map_err(|error| trial.explain(error));
    Ok(Row {
        wire,
        first,
        cells,
        packets,
    })
}

impl Trial {
    fn new(wire: Wire, first: Node) -> Result<Self> {
        let bed = Bed::build(wire.version == Version::V3AsV2)?;
        let binary = crate::flowgate::binary()?;
        Ok(Self {
            wire,
            first,
            capture: Some(Capture::start(bed.port())?),
            answers: Answers::start(&bed)?,
            stalls: Stalls::watch()?,
            sure: Instant::now(),
            resigned: 0,
            flowgate: Flowgate::installed(&binary, bed.scratch(), bed.pins(), "")?,
            keepalived: Keepalived::new(&bed)?,
            bed,
        })
    }

    /// The first node becomes active, the second one listens.
    fn begin(&mut self) -> Result<()> {
        let (first, second) = (self.first, self.first.other());
        let before = Instant::now();
        self.start(first, HIGH, true)?;
        self.is(first, true)?;
        self.answers.only(first, before, DEADLINE)?;
        self.start(second, LOW, true)?;
        self.is(second, false)?;
        self.stays(first)
    }

    /// Watches for longer than a standby would wait: that node is active all the time, the other
    /// one hears it, and nobody else answers.
    fn stays(&mut self, node: Node) -> Result<()> {
        // What a keepalived that was killed has left goes when it begins again.
        self.answers.only(node, Instant::now(), DEADLINE)?;
        let now = Instant::now();
        let patient = self.wire.interval() * PATIENT;
        eventually(DEADLINE, "time passes", || {
            let asked = Instant::now();
            ensure!(self.active(node)? == Some(true), "{node} is active no more");
            let other = node.other();
            ensure!(self.active(other)? == Some(false), "{other} isn't standby");
            self.sure = asked;
            Ok((now.elapsed() > patient).then_some(()))
        })?;
        let span = self.answers.span(now);
        ensure!(span.both.is_zero(), "both answered for {:?}", span.both);
        self.answers.only(node, Instant::now(), DEADLINE)
    }

    /// Starts a node. keepalived has a state then, Flowgate answers its command line.
    fn start(&mut self, node: Node, priority: u8, preempt: bool) -> Result<()> {
        let part = Part { priority, preempt };
        match node {
            Node::Ours => {
                let text = self.wire.flowgate(part);
                fs::write(self.flowgate.configuration(), text)?;
                self.flowgate.launch(&self.bed.ours)
            }
            Node::Theirs => {
                let text = self.wire.keepalived(part, &self.keepalived.fifo());
                self.keepalived.start(&self.bed, &text)
            }
        }
    }

    /// Whether a node says that it is active; `None`: it is neither that nor standby.
    fn active(&mut self, node: Node) -> Result<Option<bool>> {
        Ok(match node {
            Node::Ours => {
                let status = self.flowgate.json(&["vip", "status"])?;
                match status["groups"][0]["state"].as_str() {
                    Some("active") => Some(true),
                    Some("standby") => Some(false),
                    _ => None,
                }
            }
            Node::Theirs => match self.keepalived.state()? {
                Some(keepalived::State::Master) => Some(true),
                Some(keepalived::State::Backup) => Some(false),
                _ => None,
            },
        })
    }

    /// Waits until a node says so.
    fn is(&mut self, node: Node, active: bool) -> Result<()> {
        let what = match active {
            true => format!("{node} is active"),
            false => format!("{node} is standby"),
        };
        eventually(DEADLINE, &what, || {
            Ok((self.active(node)? == Some(active)).then_some(()))
        })
    }

    /// How long after `now` a node first answered, which has to be in those bounds.
    fn took(
        &self,
        node: Node,
        now: Instant,
        earliest: Duration,
        latest: Duration,
    ) -> Result<Duration> {
        let first = self.answers.first(node, now);
        let first = first.with_context(|| format!("{node} doesn't answer"))?;
        let latest = latest + SLACK * slowness();
        ensure!(
            (earliest..=latest).contains(&first),
            "{node} took over after {first:?}, not after {earliest:?} to {latest:?}"
        );
        Ok(first)
    }

    fn judge(&mut self) -> Result<Seen> {
        let capture = self.capture.take().context("captured once")?;
        let seen = judge::judge(&capture.finish(), self.wire, self.bed.scratch())?;
        ensure!(
            seen.adverts > 0 && seen.arps > 0 && seen.neighbours > 0,
            "{}: too little was sent: {seen:?}",
            self.wire
        );
        // One when it is stopped while active, and none for anything else.
        ensure!(
            seen.resignations == self.resigned,
            "{}, {} first: {} resignations, not {}",
            self.wire,
            self.first,
            seen.resignations,
            self.resigned
        );
        Ok(seen)
    }

    /// With what both have said.
    fn explain(&self, error: Error) -> Error {
        let keepalived = self.keepalived.log();
        let lines: Vec<_> = keepalived.lines().rev().take(30).collect();
        let keepalived: Vec<_> = lines.into_iter().rev().collect();
        let vip = self.flowgate.command(&["vip", "status"]);
        let vip = vip.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        error.context(format!(
            "── flowgate\n{}── flowgate vip status\n{}── keepalived\n{}\n",
            self.flowgate.log(),
            vip.unwrap_or_default(),
            keepalived.join("\n")
        ))
    }
}

impl Outcome {
    fn new(took: Duration, span: Span) -> Self {
        Self {
            took: Some(took),
            span,
            ghost: false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(took) = self.took else {
            return f.write_str("ok");
        };
        let Span { silence, both } = self.span;
        let [took, silence, both] = [took, silence, both].map(|time| time.as_millis());
        write!(f, "ok {took}/{silence}/")?;
        match self.ghost {
            true => f.write_str("*"),
            false => write!(f, "{both}"),
        }
    }
}
