//! Rounds, and what is made of them.

use anyhow::{Context, Result, bail};
use flowgate_tests::spread::{Spread, noise};
use lb_common::verdict::Verdict;

use crate::bed::{Bed, Program};
use crate::frame;
use crate::scenario::Scenario;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds that count.
    pub rounds: u32,
    /// Packets of each program in each round.
    pub repeat: u32,
    /// Whether the reference is measured, where a row has it.
    pub reference: bool,
}

/// What a scenario came to, in nanoseconds per packet.
pub struct Figures {
    /// The product, less the prologue of the same round.
    pub ours: Spread,
    /// The reference, likewise, where it is measured.
    pub reference: Option<Spread>,
    /// The prologue.
    pub prologue: Spread,
    /// The bare swap.
    pub swap: Spread,
    /// How much the bare swap's rounds differ: between the quartiles, as a share of the
    /// median. It always does the same, so this is what others on the machine did.
    pub noise: f64,
}

/// Measures a scenario: rounds in which each program runs. `last` is what the scenario
/// before ran on.
pub fn measure(
    scenario: &mut Scenario,
    effort: Effort,
    last: Option<Bed>,
) -> Result<(Bed, Figures)> {
    let Effort { rounds, repeat, .. } = effort;
    let mut tables = vec![Program::Table];
    if effort.reference && scenario.row.has_reference() {
        tables.push(Program::Lru);
    }
    let mut programs = vec![Program::Swap, Program::Prologue];
    programs.extend(&tables);
    let renewed = match last {
        Some(bed) => bed.renewed(scenario, &programs)?,
        None => None,
    };
    let mut bed = match renewed {
        Some(bed) => bed,
        None => Bed::new(scenario, &programs)?,
    };
    prepare(&mut bed, scenario, &tables)?;
    let mut round = Round::default();
    // The first round warms caches and isn't counted.
    for counted in 0..=rounds {
        let swap = bed.run(Program::Swap, &scenario.measured.frame, repeat)?;
        let prologue = bed.run(Program::Prologue, &scenario.measured.frame, repeat)?;
        let mut nets = Vec::new();
        for &table in &tables {
            nets.push(checked(&mut bed, table, scenario, repeat)? - prologue);
        }
        if counted > 0 {
            round.swap.push(swap);
            round.prologue.push(prologue);
            round.ours.push(nets[0]);
            round.reference.extend(nets.get(1));
        }
    }
    let noise = noise(round.swap.clone());
    let figures = Figures {
        ours: Spread::of(round.ours),
        reference: (!round.reference.is_empty()).then(|| Spread::of(round.reference)),
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

/// Shows the tables what they are to know, and chooses the measured packets.
fn prepare(bed: &mut Bed, scenario: &mut Scenario, tables: &[Program]) -> Result<()> {
    for &program in tables {
        for packets in &scenario.before {
            bed.set(packets)?;
            bed.run(program, &packets.frame, packets.flows)?;
        }
    }
    if scenario.to_pool {
        // The flow's own packet tells its port.
        let known = &scenario.before[scenario.before.len() - 1].frame;
        let sent = bed.forwarded(known)?;
        let port = frame::source(&sent).context("what reaches the server is no IP")?;
        scenario.measured.frame = scenario.answer(port);
    }
    bed.set(&scenario.measured)
}

/// Runs a program and makes sure that its packets went the way that is to be measured.
fn checked(bed: &mut Bed, program: Program, scenario: &Scenario, repeat: u32) -> Result<f64> {
    let before = bed.verdicts();
    let took = bed.run(program, &scenario.measured.frame, repeat)?;
    let after = bed.verdicts();
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
            scenario.row,
            scenario.verdict.label(),
            scenario.share * 100.0,
            counts.join(", "),
        );
    }
    Ok(took)
}
