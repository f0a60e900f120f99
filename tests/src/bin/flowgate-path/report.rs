//! The table, and the same for programs.

use flowgate_tests::spread::{Spread, noise};
use serde::Serialize;

use crate::{
    rounds::Measured,
    target::{Target, of_bare},
};

/// Noise of a bare forwarder above which others were at work.
const QUIET: f64 = 0.1;
/// The least part of the time that senders who send at once have their CPUs.
const AT_ONCE: f64 = 0.7;
/// Losses that are told.
const LOSS: f64 = 0.001;

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    /// Rounds of each row.
    pub rounds: usize,
    /// Length of each measurement, in milliseconds.
    pub time_ms: u128,
    /// Whether a nanosecond of this machine is an instruction.
    pub counted: bool,
    pub rows: Vec<Row>,
    /// What couldn't be measured here.
    pub left_out: Vec<LeftOut>,
    pub targets: Vec<Target>,
    /// Whether other work on the machine showed in the figures.
    pub noisy: bool,
}

/// What figures depend on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// The CPU's name.
    pub cpu: String,
    /// The CPUs that were used.
    pub cpus: Vec<usize>,
}

/// A row.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub forwarder: String,
    pub family: &'static str,
    pub scheduler: Option<&'static str>,
    /// Flows of each core.
    pub flows: u32,
    pub cores: usize,
    /// Packets per second at the sink.
    pub pps: Spread,
    /// Nanoseconds of a core for each packet at the sink: from the generator to there.
    pub ns: Spread,
    /// The share of the sent frames that didn't arrive, at worst.
    pub lost: f64,
    /// The part of the time that the senders had their CPUs, at worst.
    pub had: f64,
    /// The part of the bare forwarder's packets per second, round by round.
    pub of_bare: Option<Spread>,
}

/// A forwarder that isn't here.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    pub forwarder: String,
    pub why: String,
}

impl Row {
    pub fn new(measured: &Measured) -> Self {
        let row = &measured.row;
        let ns = measured.pps.iter().map(|pps| 1e9 * row.cores as f64 / pps);
        Self {
            name: row.to_string(),
            forwarder: row.forwarder.clone(),
            family: row.family.name(),
            scheduler: row.scheduler.map(|scheduler| scheduler.name()),
            flows: row.flows,
            cores: row.cores,
            pps: Spread::of(measured.pps.clone()),
            ns: Spread::of(ns.collect()),
            lost: measured.lost.iter().copied().fold(0.0, f64::max),
            had: measured.had.iter().copied().fold(1.0, f64::min),
            of_bare: of_bare(measured),
        }
    }
}

/// Whether a bare forwarder, which always does the same, didn't always do as much, or
/// senders that were to send at once didn't.
pub fn is_noisy(all: &[Measured]) -> bool {
    all.iter().any(|measured| {
        let differs = measured.row.is_bare && noise(measured.pps.clone()) > QUIET;
        let in_turns = measured.row.cores > 1 && measured.had.iter().any(|had| *had < AT_ONCE);
        differs || in_turns
    })
}

impl Report {
    /// How many targets were missed.
    pub fn missed(&self) -> usize {
        self.targets.iter().filter(|target| !target.met).count()
    }

    /// For people.
    pub fn print(&self) {
        let Machine { kernel, cpu, cpus } = &self.machine;
        println!("Linux {kernel}, {cpu}, CPUs {cpus:?}");
        println!(
            "{} rounds of {} ms; UDP in frames of 64 bytes (IPv6: 80), counted at the sink",
            self.rounds, self.time_ms
        );
        println!(
            "veth with native XDP, MTU 1500, a queue for each CPU; offloads off (tx, tso, gso, gro, \
             VLAN), but gro on before ip_forward and nft, which veth needs there"
        );
        println!(
            "Generator, forwarder and sink take turns on the generator's CPU: a packet's time is \
             that of all three. A CPU's second is one of its time for this."
        );
        println!();
        self.print_rows();
        for LeftOut { forwarder, why } in &self.left_out {
            println!("{forwarder}: left out: {why}");
        }
        println!();
        self.print_targets();
        println!();
        if self.noisy {
            println!(
                "NOISY: a bare forwarder's rounds differ by more than {:.0} %, or cores that were to \
                 send at once didn't. Something else is at work on this machine; measure again when \
                 it is quiet.",
                QUIET * 100.0
            );
        }
        let judged = self.targets.iter().filter(|target| target.least.is_some());
        match (self.missed(), judged.count()) {
            (_, 0) => println!("No target was measured."),
            (0, _) => println!("All targets met."),
            (missed, all) => println!("{missed} of {all} targets MISSED."),
        }
    }

    fn print_rows(&self) {
        let width = self.rows.iter().map(|row| row.name.chars().count());
        let width = width.max().unwrap_or_default();
        let unit = if self.counted { "instr." } else { "ns" };
        println!(
            "{:<width$} {:^22} {unit:>9}   of bare",
            "", "million packets/s"
        );
        println!(
            "{:<width$} {:>8} {:>6} {:>6} {:>9}",
            "", "median", "min", "max", "a packet"
        );
        for row in &self.rows {
            let [median, min, max] = [row.pps.median, row.pps.min, row.pps.max].map(|n| n / 1e6);
            let of_bare = row.of_bare.map(|ratio| format!("{:.2}", ratio.median));
            println!(
                "{:<width$} {median:>8.3} {min:>6.3} {max:>6.3} {:>9.0}   {:>7}{}",
                row.name,
                row.ns.median,
                of_bare.unwrap_or_default(),
                if row.lost > LOSS {
                    format!("   up to {:.1} % lost", row.lost * 100.0)
                } else {
                    String::new()
                }
            );
        }
    }

    fn print_targets(&self) {
        let width = self
            .targets
            .iter()
            .map(|target| target.what.chars().count());
        let width = width.max().unwrap_or_default();
        for Target {
            what,
            figure,
            least,
            met,
        } in &self.targets
        {
            match least {
                Some(least) => {
                    let met = if *met { "met" } else { "MISSED" };
                    println!("{what:<width$} {figure:>6.2}  ≥ {least:>5.2}  {met}");
                }
                None => println!("{what:<width$} {figure:>6.2}"),
            }
        }
    }
}
