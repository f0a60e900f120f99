//! Rounds, and what is made of them.

use anyhow::{Result, bail};
use lb_common::verdict::Verdict;
use serde::Serialize;

use crate::bed::{Bed, Program};
use crate::scenario::Scenario;

/// The middle, least and most of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Spread {
            median: figures[figures.len() / 2],
            min: figures[0],
            max: figures[figures.len() - 1],
        }
    }
}

/// What a scenario came to, in nanoseconds per packet.
pub struct Figures {
    /// The product, less the prologue of the same round.
    pub ours: Spread,
    /// The reference, likewise.
    pub reference: Spread,
    /// The prologue.
    pub prologue: Spread,
    /// The bare swap.
    pub swap: Spread,
    /// How much the bare swap's rounds differ: between the quartiles, as a share of the
    /// median. It always does the same, so this is what others on the machine did.
    pub noise: f64,
}

/// Measures a scenario: rounds in which each program runs `repeat` times.
pub fn measure(scenario: &Scenario, rounds: u32, repeat: u32) -> Result<(Bed, Figures)> {
    let mut bed = Bed::new()?;
    prepare(&mut bed, scenario)?;
    let mut round = Round::default();
    // The first round warms caches and isn't counted.
    for counted in 0..=rounds {
        let swap = bed.run(Program::Swap, &scenario.measured.frame, repeat)?;
        let prologue = bed.run(Program::Prologue, &scenario.measured.frame, repeat)?;
        let ours = checked(&mut bed, Program::Table, scenario, repeat)?;
        let reference = checked(&mut bed, Program::Lru, scenario, repeat)?;
        if counted > 0 {
            round.swap.push(swap);
            round.prologue.push(prologue);
            round.ours.push(ours - prologue);
            round.reference.push(reference - prologue);
        }
    }
    let noise = noise(round.swap.clone());
    let figures = Figures {
        ours: Spread::of(round.ours),
        reference: Spread::of(round.reference),
        prologue: Spread::of(round.prologue),
        swap: Spread::of(round.swap),
        noise,
    };
    Ok((bed, figures))
}

#[derive(Default)]
struct Round {
    swap: Vec<f64>,
    prologue: Vec<f64>,
    ours: Vec<f64>,
    reference: Vec<f64>,
}

fn noise(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = |quarters: usize| figures[(figures.len() - 1) * quarters / 4];
    (at(3) - at(1)) / at(2)
}

/// Shows both tables what they are to know.
fn prepare(bed: &mut Bed, scenario: &Scenario) -> Result<()> {
    for program in [Program::Table, Program::Lru] {
        for packets in &scenario.before {
            bed.set(packets)?;
            bed.first_client()?;
            bed.run(program, &packets.frame, packets.flows)?;
        }
    }
    bed.set(&scenario.measured)
}

/// Runs a program and makes sure that its packets went the way that is to be measured.
fn checked(bed: &mut Bed, program: Program, scenario: &Scenario, repeat: u32) -> Result<f64> {
    let before = bed.verdicts()?;
    let took = bed.run(program, &scenario.measured.frame, repeat)?;
    let after = bed.verdicts()?;
    let packets = |verdict: Verdict| after[&verdict] - before[&verdict];
    if (packets(scenario.verdict) as f64) < scenario.share * f64::from(repeat) {
        let counts: Vec<String> = Verdict::ALL
            .iter()
            .filter(|&&verdict| packets(verdict) > 0)
            .map(|&verdict| format!("{} {}", packets(verdict), verdict.label()))
            .collect();
        bail!(
            "{}: {program:?} was to give {} at least {} % of {repeat} packets, and gave: {}; \
             the figures would mean nothing",
            scenario.name,
            scenario.verdict.label(),
            scenario.share * 100.0,
            counts.join(", "),
        );
    }
    Ok(took)
}
