//! A web server dies, and returns.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{BURST, Finding, RATE, failures, is_even, seconds, shares};
use crate::{
    client::{self, Load},
    flowgate::health,
    stage::Stage,
    wait::let_pass,
};

const VICTIM: &str = "web1";
/// How long the load runs before and after what is looked at.
const AROUND: Duration = Duration::from_millis(500);

/// From some moment on, no request fails and none reaches the dead server.
pub(super) fn killed(stage: &mut Stage) -> Result<Finding> {
    let bound = health::notice();
    let load = Load::start(&stage.lab.client, stage.lab.vip(), RATE)?;
    let_pass(AROUND)?;
    let death = Instant::now();
    stage.lab.web(VICTIM).nginx.kill()?;
    let_pass(bound + AROUND)?;
    let report = load.stop();

    let took = report.last_failure().map(|last| last.duration_since(death));
    let early = report.first_failure().is_some_and(|first| first < death);
    Ok(Finding {
        held: !early && took.unwrap_or_default() <= bound,
        figures: format!(
            "at {RATE} requests/s {}; none from {} on (bound {}); longest gap between answers {}",
            failures(&report),
            seconds(took.unwrap_or_default()),
            seconds(bound),
            seconds(report.longest_gap())
        ),
    })
}

/// It takes part again, and nothing fails meanwhile.
pub(super) fn returned(stage: &mut Stage) -> Result<Finding> {
    let bound = health::notice();
    let load = Load::start(&stage.lab.client, stage.lab.vip(), RATE)?;
    let_pass(AROUND)?;
    stage.lab.web(VICTIM).restart()?;
    // It takes its time until it answers, where others work too.
    let start = Instant::now();
    let_pass(bound + AROUND)?;
    let report = load.stop();
    let after = client::requests(&stage.lab.client, stage.lab.vip(), BURST)?;

    let back = report.first_answer(VICTIM, start);
    let took = back.map(|moment| moment.duration_since(start));
    Ok(Finding {
        held: report.failed() == 0
            && took.is_some_and(|took| took <= bound)
            && is_even(stage, &after)?,
        figures: format!(
            "first answer after {} (bound {}); {}; then {}",
            took.map_or_else(|| "never".to_owned(), seconds),
            seconds(bound),
            failures(&report),
            shares(&after)
        ),
    })
}
