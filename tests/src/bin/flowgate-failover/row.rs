//! A contender under a fault: its trials, and what they say together.

use std::time::Duration;

use flowgate_tests::{
    pair::{contender::Contender, fault::Fault, outcome::Outcome},
    spread::Spread,
};
use serde::Serialize;

/// A contender under a fault.
#[derive(Debug, Serialize)]
pub struct Row {
    pub contender: String,
    #[serde(serialize_with = "named")]
    pub fault: Fault,
    /// How long a node may answer without advertising, which only Flowgate bounds; the
    /// targets are for it.
    #[serde(skip)]
    pub lease: Option<Duration>,
    pub trials: Vec<Outcome>,
    /// Trials without anything to measure, and why, in the first line of it.
    pub failures: Vec<String>,
}

impl Row {
    pub fn new(contender: &dyn Contender, fault: Fault) -> Self {
        Self {
            contender: contender.name(),
            fault,
            lease: contender.lease(),
            trials: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// A figure of all trials; `None` when there is none.
    pub fn spread(&self, figure: impl Fn(&Outcome) -> f64) -> Option<Spread> {
        let figures: Vec<f64> = self.trials.iter().map(figure).collect();
        (!figures.is_empty()).then(|| Spread::of(figures))
    }

    /// The sum of a count over all trials.
    pub fn sum(&self, count: impl Fn(&Outcome) -> usize) -> usize {
        self.trials.iter().map(count).sum()
    }
}

fn named<S: serde::Serializer>(fault: &Fault, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(fault.name())
}
