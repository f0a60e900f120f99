//! The table, and the same for programs.

use serde::Serialize;

use crate::machine::Machine;
use crate::measure::{Figures, Spread};
use crate::scenario::Scenario;

/// 64-byte frames on 10 Gbit/s Ethernet: 84 bytes each with preamble and gap.
const LINE_RATE_NS: f64 = 67.2;
/// Bytes that a slot of the flow table may take.
const SLOT_TARGET: f64 = 8.0;
/// Noise of the bare swap above which others were at work.
const QUIET: f64 = 0.1;

/// All that was measured.
#[derive(Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Counted rounds of each scenario.
    pub rounds: u32,
    /// Packets of each program in each round.
    pub repeat: u32,
    /// The scenarios.
    pub rows: Vec<Row>,
    /// Memory.
    pub memory: Memory,
    /// Whether other work on the machine showed in the figures.
    pub noisy: bool,
}

/// A scenario, in nanoseconds per packet.
#[derive(Serialize)]
pub struct Row {
    /// Its name.
    pub scenario: &'static str,
    /// The product, net of the prologue.
    pub ours: Spread,
    /// The reference, net of the prologue.
    pub reference: Spread,
    /// What is subtracted from both.
    pub prologue: Spread,
    /// The bare swap, raw.
    pub swap: Spread,
    /// Spread of the bare swap's middle rounds, as a share of its median.
    pub noise: f64,
    /// Cores that this takes of Flowgate at 10 GbE line rate.
    pub line_rate_cores: f64,
    /// Ours over the reference, by the medians.
    pub ratio: f64,
    /// The most that the ratio may be.
    pub target: Option<f64>,
    /// Whether it is.
    pub met: Option<bool>,
}

/// Bytes that a flow takes.
#[derive(Serialize)]
pub struct Memory {
    /// Of the flow table, for each slot.
    pub ours: f64,
    /// Of the reference, for each entry.
    pub reference: f64,
    /// The most that ours may be.
    pub target: f64,
    /// Whether it is.
    pub met: bool,
}

impl Row {
    /// Of a scenario and its figures.
    pub fn new(scenario: &Scenario, figures: &Figures) -> Self {
        let ratio = figures.ours.median / figures.reference.median;
        Row {
            scenario: scenario.name,
            ours: figures.ours,
            reference: figures.reference,
            prologue: figures.prologue,
            swap: figures.swap,
            noise: figures.noise,
            line_rate_cores: figures.ours.median / LINE_RATE_NS,
            ratio,
            target: scenario.target,
            met: scenario.target.map(|target| ratio <= target),
        }
    }
}

impl Memory {
    /// Of bytes for each slot, ours and the reference's.
    pub fn new(ours: f64, reference: f64) -> Self {
        Memory {
            ours,
            reference,
            target: SLOT_TARGET,
            met: ours <= SLOT_TARGET,
        }
    }
}

/// Whether the bare swap, which always does the same, didn't always take the same.
pub fn is_noisy(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.noise > QUIET)
}

impl Report {
    /// What was to be reached and wasn't.
    pub fn missed(&self) -> Vec<&str> {
        let rows = self.rows.iter().filter(|row| row.met == Some(false));
        let memory = (!self.memory.met).then_some("memory");
        rows.map(|row| row.scenario).chain(memory).collect()
    }

    /// For people.
    pub fn print(&self) {
        let Machine {
            kernel,
            cpu,
            pinned_to,
            jit,
        } = &self.machine;
        let jit = if *jit { "on" } else { "OFF" };
        println!("Linux {kernel}, {cpu}, CPU {pinned_to}, JIT {jit}");
        println!(
            "{} rounds of {} packets of 64 bytes; ns per packet, net of writing the packet",
            self.rounds, self.repeat
        );
        println!();
        self.print_rows();
        println!();
        self.print_swap();
        self.print_line_rate();
        if self.noisy {
            println!(
                "NOISY: the bare swap's rounds differ by more than {:.0} %. Something else is at work \
                 on this machine; measure again when it is quiet.",
                QUIET * 100.0
            );
        }
        match self.missed().as_slice() {
            [] => println!("All targets met."),
            missed => println!("MISSED: {}.", missed.join("; ")),
        }
    }

    fn print_rows(&self) {
        println!(
            "{:<30} {:^22}   {:^23}                    cores at",
            "", "Flowgate", "kernel LRU hash"
        );
        println!(
            "{:<30} {:>8} {:>6} {:>6}   {:>7} {:>7} {:>7}   ratio   target   10 GbE",
            "", "median", "min", "max", "median", "min", "max"
        );
        for row in &self.rows {
            let Row {
                ours, reference, ..
            } = row;
            println!(
                "{:<30} {:>8.1} {:>6.1} {:>6.1}   {:>7.1} {:>7.1} {:>7.1}   {:>5.2}   {:>6}   {:>6.2}{}",
                row.scenario,
                ours.median,
                ours.min,
                ours.max,
                reference.median,
                reference.min,
                reference.max,
                row.ratio,
                row.target
                    .map_or_else(String::new, |target| format!("≤ {target:.2}")),
                row.line_rate_cores,
                judged(row.met),
            );
        }
        let memory = &self.memory;
        println!(
            "{:<30} {:>8.1} {:>13}   {:>7.1} {:>15}   {:>5}   {:>6}   {:>6}{}",
            "memory per flow slot, bytes",
            memory.ours,
            "",
            memory.reference,
            "",
            "",
            format!("≤ {SLOT_TARGET:.0}"),
            "",
            judged(Some(memory.met)),
        );
    }

    fn print_swap(&self) {
        let of = |spread: fn(&Row) -> f64| Spread::of(self.rows.iter().map(spread).collect());
        println!(
            "For comparison, raw: a bare \"swap MACs, send back\" takes {:.1} ns, writing the packet \
             {:.1} to {:.1} ns.",
            of(|row| row.swap.median).median,
            of(|row| row.prologue.median).min,
            of(|row| row.prologue.median).max,
        );
    }

    /// What the figures mean for 10 Gbit/s.
    fn print_line_rate(&self) {
        println!(
            "10 GbE line rate is 14.88 Mpps, {LINE_RATE_NS} ns per packet: the last column says how many \
             cores Flowgate's part of that takes; the driver's part comes on top."
        );
    }
}

fn judged(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "   met",
        Some(false) => "   MISSED",
        None => "",
    }
}
