//! What an operator does on a working day.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{BURST, Finding, RATE, failures, is_even, seconds, shares};
use crate::{
    client::{self, Load},
    flowgate::EVEN,
    held::{Download, Held},
    nginx::{DOWNLOAD_BYTES, DOWNLOAD_TIME},
    stage::Stage,
    wait::let_pass,
};

/// Connections that stay open while the daemon is away.
const OPEN: usize = 40;
/// How long the daemon is away.
const AWAY: Duration = Duration::from_secs(1);

/// A draining server keeps what it has and gets nothing new.
pub(super) fn drained(stage: &mut Stage) -> Result<Finding> {
    let download = Download::start(&stage.lab.client, stage.lab.vip())?;
    let drained = download.server().to_owned();
    let other = stage.other_than(&drained);
    stage.flowgate.said(&["backend", "drain", EVEN, &drained])?;
    let during = client::requests(&stage.lab.client, stage.lab.vip(), BURST)?;
    let overlapped = download.running();
    let arrived = download.finish();
    stage
        .flowgate
        .said(&["backend", "enable", EVEN, &drained])?;
    let after = client::requests(&stage.lab.client, stage.lab.vip(), BURST)?;

    Ok(Finding {
        held: overlapped
            && during.of(&other) == BURST
            && arrived.as_ref().is_ok_and(|bytes| *bytes == DOWNLOAD_BYTES)
            && is_even(stage, &after)?,
        figures: format!(
            "{drained} drained: {}; its download {}; enabled again: {}",
            shares(&during),
            fate(&arrived, overlapped),
            shares(&after)
        ),
    })
}

/// Neither new nor open connections notice that the daemon was gone.
pub(super) fn restarted(stage: &mut Stage) -> Result<Finding> {
    let vip = stage.lab.vip();
    let lost_before = client::syns_again(&stage.lab.client)?;
    let mut open = Held::open(&stage.lab.client, vip, OPEN)?;
    let load = Load::start(&stage.lab.client, vip, RATE)?;
    let death = Instant::now();
    stage.flowgate.kill()?;
    let_pass(AWAY)?;
    // It is to last until a daemon is there, which takes its time where others work too.
    let download = Download::start(&stage.lab.client, vip)?;
    stage.flowgate.start(&stage.lab.lb)?;
    let away = death.elapsed();
    let overlapped = download.running();
    let kept = open.still_with_their_server()?;
    let arrived = download.finish();
    let report = load.stop();
    let lost = client::syns_again(&stage.lab.client)? - lost_before;

    Ok(Finding {
        held: overlapped
            && report.failed() == 0
            && lost == 0
            && kept == open.count()
            && arrived.as_ref().is_ok_and(|bytes| *bytes == DOWNLOAD_BYTES),
        figures: format!(
            "away for {}: {}, the slowest took {}, {lost} SYNs were lost; {kept} of {} open \
             connections kept their server; a download {}",
            seconds(away),
            failures(&report),
            seconds(report.slowest()),
            open.count(),
            fate(&arrived, overlapped)
        ),
    })
}

/// How a download went, which was to last until the change had been made.
fn fate(download: &Result<u64>, lasted: bool) -> String {
    match download {
        Ok(bytes) if lasted => format!("arrived whole ({} KiB)", bytes >> 10),
        Ok(bytes) => format!(
            "arrived whole ({} KiB), but too early to tell anything: this took longer than {}",
            bytes >> 10,
            seconds(DOWNLOAD_TIME)
        ),
        Err(error) => format!("broke off: {error:#}"),
    }
}
