//! Whether what the product says is so.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use super::{BURST, Finding};
use crate::{
    client, counters, flowgate::EVEN, lab::Mode, nginx::Logged, stage::Stage, wait::eventually,
};

/// Packets that a connection has at least, each way: SYN, data, FIN and an
/// acknowledgement.
const LEAST_PACKETS: u64 = 4;
/// Bytes of the smallest TCP segment's frame.
const LEAST_BYTES: u64 = 54;

/// Each backend's connections are those that its nginx logged.
pub(super) fn counters_and_logs(stage: &mut Stage) -> Result<Finding> {
    let counted_before = counters::of_backends(&stage.flowgate, EVEN)?;
    let logged_before = logged(stage)?;
    let report = client::requests(&stage.lab.client, stage.lab.vip(), BURST)?;

    let so_far: u64 = logged_before.values().map(|log| log.requests).sum();
    let answered = (report.total() - report.failed()) as u64;
    let patience = Duration::from_secs(5);
    let logged = eventually(patience, "nginx logs all requests", || {
        let logged = logged(stage)?;
        let total: u64 = logged.values().map(|log| log.requests).sum();
        Ok((total >= so_far + answered).then_some(logged))
    })?;
    let counted = counters::of_backends(&stage.flowgate, EVEN)?;

    let mut held = report.failed() == 0;
    let mut figures = Vec::new();
    for (web, after) in counted {
        let seen = after - counted_before.get(&web).copied().unwrap_or_default();
        let opened = logged[&web].connections - logged_before[&web].connections;
        held &= seen.connections == opened
            && seen.packets >= LEAST_PACKETS * opened
            && seen.bytes >= LEAST_BYTES * seen.packets
            && match stage.lab.mode {
                Mode::Dsr => seen.packets_out == 0,
                Mode::Nat => seen.packets_out >= LEAST_PACKETS * opened,
            };
        figures.push(format!(
            "{web}: {} connections counted, {opened} logged, {} packets in, {} out",
            seen.connections, seen.packets, seen.packets_out
        ));
    }
    Ok(Finding {
        held,
        figures: figures.join("; "),
    })
}

fn logged(stage: &Stage) -> Result<BTreeMap<String, Logged>> {
    let webs = stage.lab.webs.iter();
    webs.map(|web| Ok((web.name().to_owned(), web.logged()?)))
        .collect()
}
