//! All rows, and the table of them.

use std::{fmt::Write as _, slice, sync::Mutex, thread};

use anyhow::{Result, ensure};

use super::{
    trial::{self, Row, Step},
    wire::{Node, Version, Wire},
};

/// A row that is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How the nodes speak with each other.
    pub wire: Wire,
    /// Who is active first, having the higher priority.
    pub first: Node,
    /// What happens then.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Makes the trial.
    ///
    /// # Errors
    ///
    /// What kept it from being made. What went wrong in it, the row says.
    pub fn trial(&self) -> Result<Row> {
        trial::run(self.wire, self.first, &self.steps)
    }
}

/// Every row with all of its steps.
pub fn whole() -> Vec<Plan> {
    let rows = Wire::all().into_iter().flat_map(|wire| {
        [Node::Ours, Node::Theirs].map(|first| Plan {
            wire,
            first,
            steps: Step::ALL.to_vec(),
        })
    });
    rows.collect()
}

/// The first way whole, of the others the first row of each direction in turn, and its first
/// step.
pub fn short() -> Vec<Plan> {
    let mut plans = whole();
    let mut number = 0;
    plans.retain_mut(|plan| {
        number += 1;
        let (wire, first) = ((number - 1) / 2, plan.first == Node::Ours);
        if wire > 0 {
            plan.steps.truncate(1);
        }
        wire == 0 || (wire % 2 == 0) == first
    });
    plans
}

/// Makes each plan's `trial`. Those of version 2, which mostly wait, beside the others; `done` is
/// told of each.
pub fn run(
    plans: &[Plan],
    trial: impl Fn(&Plan) -> Result<Row> + Sync,
    done: impl Fn(&Plan, &Result<Row>) + Sync,
) -> Vec<Result<Row>> {
    let (slow, fast): (Vec<_>, Vec<_>) =
        (0..plans.len()).partition(|&number| plans[number].wire.version == Version::V2);
    let rows = Mutex::new(Vec::new());
    let lane = |numbers: Vec<usize>| {
        for number in numbers {
            let plan = &plans[number];
            let row = trial(plan);
            done(plan, &row);
            rows.lock()
                .expect("nobody panics with it")
                .push((number, row));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| lane(slow));
        lane(fast);
    });
    let mut rows = rows.into_inner().expect("nobody panics with it");
    rows.sort_by_key(|(number, _)| *number);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The row, if everything was as it should be.
///
/// # Errors
///
/// Everything that went wrong in it.
pub fn sound(row: Result<Row>) -> Result<Row> {
    let wrong = failures(slice::from_ref(&row));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    row
}

/// Whether everything was as it should be.
pub fn is_good(row: &Result<Row>) -> bool {
    failures(slice::from_ref(row)).is_empty()
}

/// The table, in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| advertisements | active first |");
    for step in Step::ALL {
        let _ = write!(text, " {} |", step.name());
    }
    text.push_str(" what Flowgate sent |\n|---|---|---|---|---|---|---|---|\n");
    for row in rows {
        let _ = write!(text, "| {} | {} |", row.wire, row.first);
        for step in Step::ALL {
            let cell = row.cells.iter().find(|(made, _)| *made == step);
            let _ = match cell {
                Some((_, Ok(outcome))) => write!(text, " {outcome} |"),
                Some((_, Err(_))) => write!(text, " **FAILED** |"),
                None => write!(text, " – |"),
            };
        }
        let _ = match &row.packets {
            Ok(seen) => writeln!(
                text,
                " ok: {} + {} + {} + {} |",
                seen.adverts - seen.resignations,
                seen.resignations,
                seen.arps,
                seen.neighbours
            ),
            Err(_) => writeln!(text, " **FAILED** |"),
        };
    }
    text
}

/// Everything that went wrong, with its details.
pub fn failures(rows: &[Result<Row>]) -> Vec<String> {
    let mut failures = Vec::new();
    for row in rows {
        match row {
            Ok(row) => {
                let cells = row.cells.iter().filter_map(|(_, cell)| cell.as_ref().err());
                failures.extend(
                    cells
                        .chain(row.packets.as_ref().err())
                        .map(|e| format!("{e:#}")),
                );
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    failures
}
