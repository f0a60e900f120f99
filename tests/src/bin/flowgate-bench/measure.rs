//! Rounds, and what is made of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flowgate_tests::{interrupt, spread::Spread};
use lb_common::verdict::Verdict;
use serde::Serialize;

use crate::bed::{Bed, Program};
use crate::frame;
use crate::quiet::{Quiet, Round, quietest};
use crate::scenario::Scenario;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds that count.
    pub rounds: u32,
    /// Packets of each program in each round.
    pub repeat: u32,
    /// How long each row may wait for a machine that is quiet in so many rounds.
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
    /// All rounds. Those of scenarios that were measured in turns belong together by their
    /// places.
    rounds: Vec<Round>,
    /// How many of them count.
    wanted: usize,
    /// What tells the scenarios that were measured in turns from others.
    turn: usize,
}

/// How many times as long one takes as another, where both were measured in turns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The middle one of the turns in which the machine was quiet, where those are enough.
    pub quiet: Option<f64>,
    /// The middle one of all turns.
    pub all: f64,
}

impl Ratio {
    /// Of each turn's swap and ratio. Only the swap chooses.
    fn of(turns: &[(f64, f64)], wanted: usize, quiet: Quiet) -> Self {
        let middle = |turns: Vec<f64>| Spread::of(turns).median;
        let is_quiet = |&&(swap, _): &&(f64, f64)| quiet.was(swap);
        let ratio = |&(_, ratio): &(f64, f64)| ratio;
        let chosen: Vec<f64> = turns.iter().filter(is_quiet).map(ratio).collect();
        Ratio {
            quiet: (chosen.len() >= wanted).then(|| middle(chosen)),
            all: middle(turns.iter().map(ratio).collect()),
        }
    }

    /// What a target is judged by. Where the machine was hardly ever quiet, a few of its turns
    /// tell less than all.
    pub fn judged(self) -> f64 {
        self.quiet.unwrap_or(self.all)
    }
}

impl Figures {
    fn new(turn: usize, rounds: Vec<Round>, wanted: usize) -> Self {
        let chosen = quietest(rounds.clone(), wanted);
        let spread = |figure: fn(&Round) -> Option<f64>| -> Vec<f64> {
            chosen.iter().filter_map(figure).collect()
        };
        let reference = spread(|round| round.reference);
        Figures {
            ours: Spread::of(spread(|round| Some(round.ours))),
            reference: (!reference.is_empty()).then(|| Spread::of(reference)),
            prologue: Spread::of(spread(|round| Some(round.prologue))),
            swap: Spread::of(spread(|round| Some(round.swap))),
            rounds,
            wanted,
            turn,
        }
    }

    /// How many times as long as in `other` a packet takes here. `None` where they weren't
    /// measured in turns.
    pub fn times(&self, other: &Figures, quiet: Quiet) -> Option<Ratio> {
        if self.turn != other.turn {
            return None;
        }
        let turns = self.rounds.iter().zip(&other.rounds);
        let turns = turns.map(|(one, other)| (one.swap.max(other.swap), one.ours / other.ours));
        let turns: Vec<_> = turns.collect();
        Some(Ratio::of(&turns, self.wanted, quiet))
    }

    /// How many times as long as the reference the product takes. `None` where that isn't
    /// measured.
    pub fn times_reference(&self, quiet: Quiet) -> Option<Ratio> {
        let ratio = |round: &Round| Some((round.swap, round.ours / round.reference?));
        let turns: Option<Vec<_>> = self.rounds.iter().map(ratio).collect();
        Some(Ratio::of(&turns?, self.wanted, quiet))
    }
}

/// Measures scenarios in turns: rounds in each of which every program of each of them runs.
/// `last` is what the scenario before ran on; a scenario that takes no turns leaves it.
pub fn measure(
    scenarios: &mut [Scenario],
    turn: usize,
    effort: Effort,
    quiet: &mut Quiet,
    last: Option<Bed>,
) -> Result<(Bed, Vec<Figures>)> {
    let (mut beds, mut last) = (Vec::new(), last);
    for scenario in scenarios.iter_mut() {
        beds.push(made(scenario, effort, last.take())?);
    }
    let rounds = rounds(&mut beds, scenarios, effort, quiet)?;
    let figures = |rounds| Figures::new(turn, rounds, effort.rounds as usize);
    let figures = rounds.into_iter().map(figures).collect();
    Ok((beds.swap_remove(0), figures))
}

/// What a scenario runs on, with tables that have seen what they are to know.
fn made(scenario: &mut Scenario, effort: Effort, last: Option<Bed>) -> Result<Bed> {
    let tables = tables(scenario, effort);
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
    Ok(bed)
}

/// The programs that are measured.
fn tables(scenario: &Scenario, effort: Effort) -> Vec<Program> {
    let mut tables = vec![Program::Table];
    if effort.reference && scenario.row.has_reference() {
        tables.push(Program::Lru);
    }
    tables
}

/// Each scenario's rounds: until each has as many quiet ones as are wanted, or, where patience
/// ends before, at least as many as are wanted.
fn rounds(
    beds: &mut [Bed],
    scenarios: &[Scenario],
    effort: Effort,
    quiet: &mut Quiet,
) -> Result<Vec<Vec<Round>>> {
    let wanted = effort.rounds as usize;
    let mut turn = |quiet: &mut Quiet| -> Result<Vec<Round>> {
        let all = beds.iter_mut().zip(scenarios);
        let rounds = all.map(|(bed, scenario)| {
            interrupt::check()?;
            let tables = tables(scenario, effort);
            round(bed, scenario, &tables, effort.repeat, quiet)
        });
        rounds.collect()
    };
    // It warms caches and isn't counted.
    turn(quiet)?;
    let patience = effort.patience * scenarios.len() as u32;
    let (mut rounds, begin) = (vec![Vec::new(); scenarios.len()], Instant::now());
    loop {
        let all = rounds.iter_mut().zip(turn(quiet)?);
        all.for_each(|(rounds, round): (&mut Vec<Round>, _)| rounds.push(round));
        let is_quiet = |round: &&Round| quiet.was(round.swap);
        let is_enough = |rounds: &Vec<Round>| rounds.iter().filter(is_quiet).count() >= wanted;
        let is_late = rounds[0].len() >= wanted && begin.elapsed() >= patience;
        if is_late || rounds.iter().all(is_enough) {
            return Ok(rounds);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(turn: usize, rounds: &[(f64, f64)], wanted: usize) -> Figures {
        let round = |&(swap, ours): &(f64, f64)| Round {
            swap,
            prologue: 5.0,
            ours,
            reference: Some(100.0),
        };
        Figures::new(turn, rounds.iter().map(round).collect(), wanted)
    }

    fn seen(swap: f64) -> Quiet {
        let mut quiet = Quiet::new();
        quiet.see(swap);
        quiet
    }

    #[test]
    fn what_was_measured_in_turns_is_compared_turn_by_turn() {
        // A machine that becomes slower: the medians of 60 and 20 would make it 3.
        let one = figures(0, &[(8.0, 20.0), (8.0, 60.0), (8.0, 80.0)], 3);
        let other = |turn| figures(turn, &[(8.0, 10.0), (8.0, 20.0), (8.0, 40.0)], 3);
        let ratio = one.times(&other(0), seen(8.0)).unwrap();
        assert_eq!((ratio.quiet, ratio.all), (Some(2.0), 2.0));
        assert_eq!(one.times(&other(1), seen(8.0)), None);
        assert_eq!(one.times_reference(seen(8.0)).unwrap().quiet, Some(0.6));
    }

    #[test]
    fn a_turn_is_quiet_when_both_of_its_rounds_are() {
        // Of the second and the fourth turn one round isn't; the least ratio is in one of them.
        let one = [(8.0, 20.0), (16.0, 70.0), (8.5, 40.0), (8.0, 30.0)];
        let one = |wanted| figures(0, &one, wanted);
        let other = [8.0, 8.0, 8.0, 16.0].map(|swap| (swap, 10.0));
        let other = |wanted| figures(0, &other, wanted);
        let ratio = |wanted, least| one(wanted).times(&other(wanted), seen(least)).unwrap();
        assert_eq!(ratio(1, 8.0).quiet, Some(4.0));
        assert_eq!(ratio(2, 8.0).quiet, Some(4.0));
        assert_eq!(ratio(2, 7.5).quiet, None);
        assert_eq!(ratio(1, 7.5).quiet, Some(2.0));
        assert_eq!(ratio(3, 8.0).quiet, None);
        assert_eq!(ratio(3, 8.0).judged(), ratio(3, 8.0).all);
        assert_eq!(ratio(2, 8.0).judged(), 4.0);
        assert_eq!(one(3).times_reference(seen(8.0)).unwrap().quiet, Some(0.3));
        assert_eq!(one(4).times_reference(seen(8.0)).unwrap().quiet, None);
    }
}
