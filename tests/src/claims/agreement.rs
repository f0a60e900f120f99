//! Whether what the product says is so.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use super::{BURST, Finding};
use crate::{
    client, counters, flowgate::EVEN, lab::Mode, nginx::Logged, stage::Stage, wait::eventually,
};

/// Of a connection's packets the client sends at least these: SYN, request, FIN
/// and an acknowledgement.
const LEAST_PACKETS: u64 = 4;
/// Bytes of the smallest TCP segment's frame.
const LEAST_BYTES: u64 = 54;

/// Each backend's connections are those that its nginx logged.
pub(super) fn counters_and_logs(stage: &mut Stage) -> Result<Finding> {
    let counted_before = counters::of_backends(&stage.flowgate, EVEN)?;
    let answers_before = translated_back(stage)?;
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

    let answers = translated_back(stage)? - answers_before;

    let mut held = report.failed() == 0 && (stage.lab.mode == Mode::Nat) == (answers > 0);
    let mut figures = Vec::new();
    for (web, after) in counted {
        let seen = after - counted_before.get(&web).copied().unwrap_or_default();
        let opened = logged[&web].connections - logged_before[&web].connections;
        held &= seen.connections == opened
            && seen.packets >= LEAST_PACKETS * opened
            && seen.bytes >= LEAST_BYTES * seen.packets;
        figures.push(format!(
            "{web}: {} connections counted, {opened} logged, {} packets",
            seen.connections, seen.packets
        ));
    }
    if stage.lab.mode == Mode::Nat {
        figures.push(format!("{answers} packets translated back"));
    }
    Ok(Finding {
        held,
        figures: figures.join("; "),
    })
}

/// Packets of the servers that went back to the client by way of the load balancer.
fn translated_back(stage: &Stage) -> Result<u64> {
    let verdicts = counters::of_verdicts(&stage.flowgate)?;
    Ok(verdicts.get("return_nat").copied().unwrap_or(0))
}

fn logged(stage: &Stage) -> Result<BTreeMap<String, Logged>> {
    let webs = stage.lab.webs.iter();
    webs.map(|web| Ok((web.name().to_owned(), web.nginx.logged()?)))
        .collect()
}
