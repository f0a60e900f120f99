//! What is to be reached.

use flowgate_tests::spread::Spread;
use serde::Serialize;

use crate::{rounds::Measured, row::Row};

/// The least part of the bare forwarder's packets per second, for modes that do to a packet
/// what that does.
const OF_BARE: f64 = 0.9;
/// The least that each of several CPUs brings, as a part of what one alone does.
const EACH_CORE: f64 = 0.9;

/// A target, and whether it was met.
#[derive(Debug, Serialize)]
pub struct Target {
    /// What is compared with what.
    pub what: String,
    /// The median of the rounds' ratios.
    pub figure: f64,
    /// The least that it may be; `None` where it is only told.
    pub least: Option<f64>,
    /// Whether it isn't less.
    pub met: bool,
}

impl Target {
    fn new(what: String, figure: f64, least: Option<f64>) -> Self {
        let met = least.is_none_or(|least| figure >= least);
        Self {
            what,
            figure,
            least,
            met,
        }
    }
}

/// The part of the bare forwarder's packets per second that a row has reached, round by
/// round; `None` without that forwarder.
pub fn of_bare(measured: &Measured) -> Option<Spread> {
    (!measured.bare.is_empty()).then(|| ratio(&measured.pps, &measured.bare))
}

/// All targets, as far as their rows were measured.
pub fn judge(all: &[Measured]) -> Vec<Target> {
    let beside_bare = all
        .iter()
        .filter(|measured| measured.row.is_like_bare && measured.row.cores == 1)
        .filter_map(|measured| {
            let ratio = of_bare(measured)?;
            let what = format!("{} / bare", measured.row);
            Some(Target::new(what, ratio.median, Some(OF_BARE)))
        });
    let scaling = all.iter().filter_map(|measured| {
        let row = &measured.row;
        let alone = find(&row.alone(), all).filter(|_| row.cores > 1)?;
        let least = EACH_CORE * row.cores as f64;
        let what = format!("{row} / 1 core");
        let least = row.is_ours.then_some(least);
        Some(Target::new(
            what,
            ratio(&measured.pps, &alone.pps).median,
            least,
        ))
    });
    beside_bare.chain(scaling).collect()
}

fn find<'a>(row: &Row, all: &'a [Measured]) -> Option<&'a Measured> {
    all.iter().find(|measured| measured.row == *row)
}

/// Round by round: what disturbs a round mostly disturbs both.
fn ratio(of: &[f64], beside: &[f64]) -> Spread {
    let pairs = of.iter().zip(beside);
    Spread::of(pairs.map(|(of, beside)| of / beside).collect())
}
