//! What the product promises, each promise with a way to find out.

mod agreement;
mod failure;
mod maintenance;
mod spread;
mod unload;

use std::time::Duration;

use anyhow::Result;

use crate::{client::Report, machine::online_cpus, stage::Stage};

/// Requests in a burst that is counted exactly.
const BURST: u64 = 400;
/// Requests a second while something is done to the servers or to the daemon.
const RATE: u32 = 200;

/// What was found out about a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it was kept.
    pub held: bool,
    /// What was seen, with figures.
    pub figures: String,
}

/// A promise, and the way to find out.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The promise, in a few words.
    pub title: &'static str,
    /// Finds out. It leaves the stage as it found it, except the last.
    pub check: fn(&mut Stage) -> Result<Finding>,
}

/// All promises, in an order in which they can be checked on one stage.
pub const ALL: &[Claim] = &[
    Claim {
        title: "Round robin spreads requests evenly",
        check: spread::evenly,
    },
    Claim {
        title: "Weights set by the command line give 3 : 1",
        check: spread::by_weight,
    },
    Claim {
        title: "Counters agree with what nginx logged",
        check: agreement::counters_and_logs,
    },
    Claim {
        title: "A web server killed under load is left alone within the bound",
        check: failure::killed,
    },
    Claim {
        title: "It gets its share again when it returns",
        check: failure::returned,
    },
    Claim {
        title: "A drained web server finishes its download and gets nothing new",
        check: maintenance::drained,
    },
    Claim {
        title: "The daemon killed and restarted under load loses nothing",
        check: maintenance::restarted,
    },
    Claim {
        title: "A stopped daemon leaves forwarding in place; unload removes all",
        check: unload::stopped_and_unloaded,
    },
];

/// How far counts may be from the exact share: each CPU has its own turn.
fn tolerance() -> Result<u64> {
    online_cpus()
}

/// `web1 200, web2 200`.
fn shares(report: &Report) -> String {
    let answers = report.answers();
    let shares: Vec<_> = answers.iter().map(|(n, c)| format!("{n} {c}")).collect();
    match shares.is_empty() {
        true => "no answer".to_owned(),
        false => shares.join(", "),
    }
}

/// `0 of 400 failed`, with the reasons if any did.
fn failures(report: &Report) -> String {
    let mut text = format!("{} of {} failed", report.failed(), report.total());
    let reasons = report.reasons();
    if !reasons.is_empty() {
        let reasons: Vec<_> = reasons.iter().map(|(r, n)| format!("{n} × {r}")).collect();
        text.push_str(&format!(" ({})", reasons.join(", ")));
    }
    text
}

/// `0.61 s`.
fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Whether nothing failed and all answers are spread evenly over the servers.
fn is_even(stage: &Stage, report: &Report) -> Result<bool> {
    let counts: Vec<_> = stage.webs().iter().map(|web| report.of(web)).collect();
    let spread = counts.iter().max().zip(counts.iter().min());
    let spread = spread.map_or(0, |(most, least)| most - least);
    Ok(report.failed() == 0 && spread <= tolerance()?)
}
