//! Who gets how many requests.

use anyhow::Result;

use super::{BURST, Finding, failures, is_even, shares, tolerance};
use crate::{client, flowgate::WEIGHTED, stage::Stage};

/// Equal servers, equal shares.
pub(super) fn evenly(stage: &mut Stage) -> Result<Finding> {
    let report = client::requests(&stage.lab.client, stage.lab.vip(), BURST)?;
    Ok(Finding {
        held: is_even(stage, &report)?,
        figures: format!(
            "{}; {}; they may differ by {}, one for each CPU",
            shares(&report),
            failures(&report),
            tolerance()?
        ),
    })
}

/// A server with three times the weight, three times the share.
pub(super) fn by_weight(stage: &mut Stage) -> Result<Finding> {
    let set = |weight| {
        let arguments = ["backend", "weight", WEIGHTED, "web1", weight];
        stage.flowgate.said(&arguments).map(drop)
    };
    set("3")?;
    let report = client::requests(&stage.lab.client, stage.weighted_vip(), BURST)?;
    set("1")?;
    let due = BURST * 3 / 4;
    Ok(Finding {
        held: report.failed() == 0 && report.of("web1").abs_diff(due) <= tolerance()?,
        figures: format!(
            "{}; {}; {due} are due to web1, give or take {}",
            shares(&report),
            failures(&report),
            tolerance()?
        ),
    })
}
