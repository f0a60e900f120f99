//! Rounds, and what is made of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flowgate_tests::{interrupt, spread::Spread};
use lb_common::verdict::Verdict;

use crate::bed::{Bed, Program};
use crate::frame;
use crate::quiet::{Quiet, Round, TOLERANCE, quietest};
use crate::scenario::Scenario;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds that count.
    pub rounds: u32,
    /// Packets of each program in each round.
    pub repeat: u32,
    /// How long a row may wait for a machine that is quiet in so many rounds.
    pub patience: Duration,
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
    /// The bare swap, before and after the others of a round: the longer time.
    pub swap: Spread,
}

/// Measures a scenario: rounds in which each program runs. `last` is what the scenario
/// before ran on.
pub fn measure(
    scenario: &mut Scenario,
    effort: Effort,
    quiet: &mut Quiet,
    last: Option<Bed>,
) -> Result<(Bed, Figures)> {
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
    let rounds = rounds(&mut bed, scenario, &tables, effort, quiet)?;
    let spread = |figure: fn(&Round) -> Option<f64>| -> Vec<f64> {
        rounds.iter().filter_map(figure).collect()
    };
    let reference = spread(|round| round.reference);
    let figures = Figures {
        ours: Spread::of(spread(|round| Some(round.ours))),
        reference: (!reference.is_empty()).then(|| Spread::of(reference)),
        prologue: Spread::of(spread(|round| Some(round.prologue))),
        swap: Spread::of(spread(|round| Some(round.swap))),
    };
    Ok((bed, figures))
}

/// The rounds that count: as many quiet ones as are wanted, or, where patience ends before, the
/// quietest.
fn rounds(
    bed: &mut Bed,
    scenario: &Scenario,
    tables: &[Program],
    effort: Effort,
    quiet: &mut Quiet,
) -> Result<Vec<Round>> {
    let wanted = effort.rounds as usize;
    // It warms caches and isn't counted.
    round(bed, scenario, tables, effort.repeat, quiet)?;
    let (mut rounds, begin) = (Vec::new(), Instant::now());
    loop {
        interrupt::check()?;
        rounds.push(round(bed, scenario, tables, effort.repeat, quiet)?);
        let is_quiet = |round: &&Round| quiet.noise(round.swap) <= TOLERANCE;
        let is_enough = rounds.iter().filter(is_quiet).count() >= wanted;
        if is_enough || (rounds.len() >= wanted && begin.elapsed() >= effort.patience) {
            return Ok(quietest(rounds, wanted));
        }
    }
}

/// Runs each program once.
fn round(
    bed: &mut Bed,
    scenario: &Scenario,
    tables: &[Program],
    repeat: u32,
    quiet: &mut Quiet,
) -> Result<Round> {
    let frame = &scenario.measured.frame;
    let before = bed.run(Program::Swap, frame, repeat)?;
    let prologue = bed.run(Program::Prologue, frame, repeat)?;
    let mut nets = Vec::new();
    for &table in tables {
        nets.push(checked(bed, table, scenario, repeat)? - prologue);
    }
    let after = bed.run(Program::Swap, frame, repeat)?;
    [before, after].into_iter().for_each(|swap| quiet.see(swap));
    Ok(Round {
        swap: before.max(after),
        prologue,
        ours: nets[0],
        reference: nets.get(1).copied(),
    })
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
