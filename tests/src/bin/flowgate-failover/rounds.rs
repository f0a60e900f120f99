//! Rounds in which every contender meets every fault.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flowgate_tests::{
    interrupt,
    pair::{
        bed::Bed,
        contender::Contender,
        fault::Fault,
        outcome::Outcome,
        trial::{self, Crowd},
    },
};

use crate::row::Row;

/// What a trial takes, as long as none has been seen.
const GUESS: Duration = Duration::from_secs(6);

/// Measures. A trial that fails is told, and left out. After Ctrl-C, what was measured until
/// then is given.
pub fn all(
    contenders: &[Box<dyn Contender>],
    faults: &[Fault],
    trials: usize,
    crowd: Crowd,
) -> Result<Vec<Row>> {
    let mut bed = Bed::build()?;
    if !bed.set_first_aside()? {
        eprintln!("one CPU only: what a node does keeps all others waiting");
    }
    let mut rows: Vec<Row> = faults
        .iter()
        .flat_map(|fault| contenders.iter().map(|one| Row::new(&**one, *fault)))
        .collect();
    let turns = faults
        .iter()
        .flat_map(|fault| contenders.iter().map(move |contender| (contender, fault)));
    let turns: Vec<_> = turns.collect();
    let all = turns.len() * trials;
    eprintln!(
        "{} contenders, {} faults, {trials} trials of each: {all} trials, about {}",
        contenders.len(),
        faults.len(),
        duration(GUESS * all as u32)
    );
    let begin = Instant::now();
    for done in 0..all {
        let turn = done % turns.len();
        let (contender, fault) = turns[turn];
        if interrupt::check().is_err() {
            break;
        }
        let left = match done {
            0 => GUESS * all as u32,
            _ => begin
                .elapsed()
                .div_f64(done as f64)
                .mul_f64((all - done) as f64),
        };
        let head = format!(
            "{}/{all}, {} left: {fault}, {}",
            done + 1,
            duration(left),
            contender.name()
        );
        match trial::run(&bed, &**contender, *fault, crowd) {
            Ok(outcome) => {
                eprintln!("{head}: {}", short(&outcome));
                rows[turn].trials.push(outcome);
            }
            Err(_) if interrupt::check().is_err() => break,
            Err(error) => {
                let error = format!("{error:#}");
                eprintln!("{head}: NOT MEASURED: {error}");
                let line = error.lines().next().unwrap_or_default();
                rows[turn].failures.push(line.to_owned());
            }
        }
    }
    ensure!(
        rows.iter().any(|row| !row.trials.is_empty()),
        "nothing could be measured: the reasons are above"
    );
    Ok(rows)
}

fn short(outcome: &Outcome) -> String {
    format!(
        "gap {:.0} ms, past them {:.0} ms, echoes {:.0} ms; broken {} of {}, young {} of {}; new failed {} of {}; two {:.0} ms{}",
        outcome.own_gap,
        outcome.bypass_gap,
        outcome.echo_gap,
        outcome.broken,
        outcome.established,
        outcome.young_broken,
        outcome.young,
        outcome.new_failed,
        outcome.new,
        outcome.two_answering,
        if outcome.two_at_end { ", still" } else { "" }
    )
}

/// For people: in hours and minutes, or in minutes and seconds.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        hours => format!("{hours} h {:02} min", seconds / 60 % 60),
    }
}
