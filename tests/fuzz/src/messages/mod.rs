//! Messages that other nodes send us, or somebody in their place: arbitrary bytes, and valid messages that
//! went wrong, through the code that takes them.

mod bend;
mod follower;
mod leader;
mod link;
mod vrrp;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::ValueEnum;
use fastrand::Rng;
use flowgate::{replicate::Discard, vrrp::PacketError};

/// What takes the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Taker {
    /// Advertisements of VRRP
    Vrrp,
    /// Both sides of the replication of flows
    Replication,
}

/// Messages between two fresh starts: one is found again by replaying these at most.
const ROUND: u64 = 32_000;
/// From this many messages on, every outcome must have come.
const ENOUGH: u64 = 200_000;

/// A message, and what should not have become of it.
#[derive(Debug)]
pub struct Wrong {
    /// The message, or what was sealed in it.
    pub bytes: Vec<u8>,
    /// What happened.
    pub what: String,
}

impl Wrong {
    fn new(bytes: &[u8], what: impl Into<String>) -> Self {
        let (bytes, what) = (bytes.to_vec(), what.into());
        Wrong { bytes, what }
    }
}

/// How often each outcome came, by label.
pub type Outcomes = BTreeMap<&'static str, u64>;

/// A run.
pub struct Messages {
    seed: u64,
    taker: Taker,
    leader: leader::Leader,
    follower: follower::Follower,
    /// What became of the messages.
    pub outcomes: Outcomes,
}

impl Messages {
    /// A run whose messages depend on the seed alone.
    #[must_use]
    pub fn new(taker: Taker, seed: u64) -> Self {
        Messages {
            seed,
            taker,
            leader: leader::Leader::new(),
            follower: follower::Follower::new(),
            outcomes: Outcomes::new(),
        }
    }

    /// Sends message number `index`. Messages of a round must be sent in their order, from its first
    /// one on.
    ///
    /// # Errors
    ///
    /// What should not be.
    pub fn step(&mut self, index: u64) -> Result<(), Wrong> {
        let mix = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = Rng::with_seed(Rng::with_seed(self.seed ^ mix).u64(..));
        if self.taker == Taker::Vrrp {
            return vrrp::step(&mut random, &mut self.outcomes);
        }
        if index.is_multiple_of(ROUND) {
            self.leader = leader::Leader::new();
            self.follower = follower::Follower::new();
        }
        match random.bool() {
            true => self.leader.step(&mut random, &mut self.outcomes),
            false => self.follower.step(&mut random, &mut self.outcomes),
        }
    }

    /// Outcomes that there are and that never came.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let all: Vec<&str> = match self.taker {
            // Of the last three it takes a socket to know: how long a packet was, who may send it,
            // and where to.
            Taker::Vrrp => PacketError::LABELS
                .into_iter()
                .filter(|label| !matches!(*label, "oversized" | "stranger" | "destination"))
                .collect(),
            // Flows are kept after a change of roles alone, and only a daemon of another version seals what
            // is of that version.
            Taker::Replication => Discard::ALL
                .iter()
                .filter(|why| !matches!(**why, Discard::Kept | Discard::Version))
                .map(|why| why.label())
                .collect(),
        };
        let missing = all.into_iter().chain(["taken"]);
        missing
            .filter(|label| !self.outcomes.contains_key(label))
            .collect()
    }
}

/// Sends so many messages, or what leads to message `at` and it, and tells how it went; true if nothing went wrong.
///
/// # Errors
///
/// When some outcome never came in a long run: then something isn't tried.
pub fn run(
    taker: Taker,
    seed: u64,
    count: u64,
    at: Option<u64>,
    stop: &AtomicBool,
) -> Result<bool> {
    let range = match at {
        Some(at) => at - at % ROUND..at + 1,
        None => 0..count,
    };
    let mut messages = Messages::new(taker, seed);
    let (started, first) = (Instant::now(), range.start);
    let (mut sent, mut shown) = (0, started);
    for index in range {
        if stop.load(Ordering::Relaxed) {
            println!("stopped");
            break;
        }
        if let Err(wrong) = messages.step(index) {
            let hexadecimal = wrong.bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            let name = taker.to_possible_value();
            let name = name.as_ref().map_or("", |name| name.get_name());
            println!(
                "message {index}: {}\n  {hexadecimal}\n  again: \
                 cargo xtask fuzz --what {name} --seed {seed} --at {index}",
                wrong.what
            );
            return Ok(false);
        }
        sent = index - first + 1;
        if index.is_multiple_of(65_536) && shown.elapsed() > Duration::from_secs(5) {
            shown = Instant::now();
            let rate = sent as f64 / started.elapsed().as_secs_f64() / 1_000.0;
            println!("{sent} messages, {rate:.0} thousand a second");
            std::io::stdout().flush()?;
        }
    }
    for (label, count) in &messages.outcomes {
        println!("{count:>10} {label}");
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = sent as f64 / seconds / 1_000.0;
    println!(
        "{sent} messages in {seconds:.1} s, {rate:.0} thousand a second, nothing wrong, seed {seed}"
    );
    let missing = messages.missing();
    if sent >= ENOUGH && !missing.is_empty() {
        bail!("these outcomes never came: {}", missing.join(", "));
    }
    Ok(true)
}
