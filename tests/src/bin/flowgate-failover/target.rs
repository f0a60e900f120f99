//! What Flowgate is held to.

use flowgate_tests::pair::fault::{Fault, Kind};
use serde::Serialize;

use crate::row::Row;

/// The longest gap of a crash, and of what is known in advance, in milliseconds.
const CRASH: f64 = 100.0;
const ORDERLY: f64 = 5.0;
/// The time that an advertisement takes to its effect at the other node at most, in
/// milliseconds.
const UNDERWAY: f64 = 5.0;

/// A target, and how it went.
#[derive(Debug, Serialize)]
pub struct Target {
    pub what: String,
    /// The worst of all trials.
    pub figure: f64,
    /// What it may be at most.
    pub most: f64,
    pub met: bool,
}

/// Holds each row of Flowgate's against the targets.
pub fn judge(rows: &[Row]) -> Vec<Target> {
    let ours = rows.iter().filter(|row| row.lease.is_some());
    ours.flat_map(of).collect()
}

fn of(row: &Row) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut hold = |what: &str, figure: f64, most: f64| {
        targets.push(Target {
            what: format!("{}, {}: {what}", row.fault, row.contender),
            figure,
            most,
            met: figure <= most,
        });
    };
    hold("trials not measured", row.failures.len() as f64, 0.0);
    let worst = |figure: Option<flowgate_tests::spread::Spread>| figure.map(|spread| spread.max);
    let most = match row.fault.kind() {
        Kind::Crash => Some(CRASH),
        Kind::Orderly => Some(ORDERLY),
        Kind::Other => None,
    };
    if let (Some(gap), Some(most)) = (worst(row.spread(|trial| trial.own_gap)), most) {
        hold("longest gap in service, ms", gap, most);
    }
    if let Some(two) = worst(row.spread(|trial| trial.two_answering))
        && let Some(most) = two_answering(row)
    {
        hold("two answering, ms", two, most);
    }
    hold(
        "broken of the established",
        row.sum(|trial| trial.broken) as f64,
        0.0,
    );
    targets
}

/// How long two nodes may both answer by the documentation of the lease, in milliseconds:
/// after a crash as long as a lease lasts, if advertisements before it were lost; else
/// half of that. A network that is split has no bound.
fn two_answering(row: &Row) -> Option<f64> {
    let lease = row.lease?.as_secs_f64() * 1e3;
    match (row.fault, row.fault.kind()) {
        (Fault::Split, _) => None,
        (_, Kind::Crash) => Some(lease),
        _ => Some(lease / 2.0 + UNDERWAY),
    }
}
