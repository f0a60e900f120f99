//! The end.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::{BURST, Finding, failures};
use crate::{client, netns::run, process::how, stage::Stage};

/// SIGTERM ends the daemon only; `flowgate unload` ends the forwarding.
pub(super) fn stopped_and_unloaded(stage: &mut Stage) -> Result<Finding> {
    let attached = programs(stage)?;
    ensure!(attached > 0, "no XDP program on the load balancer");
    let status = stage.flowgate.stop(Signal::TERM)?;
    let without = client::requests(&stage.lab.client, stage.lab.vip(), BURST)?;
    stage.flowgate.unload(&stage.lab.lb)?;
    let left = programs(stage)?;
    let pins = stage.flowgate.pin_dir().exists();
    Ok(Finding {
        held: status.success() && without.failed() == 0 && left == 0 && !pins,
        figures: format!(
            "SIGTERM: {}, then {}; after unload {left} of {attached} programs and {} pins are left",
            how(status),
            failures(&without),
            if pins { "some" } else { "no" }
        ),
    })
}

/// How many interfaces of the load balancer have an XDP program.
fn programs(stage: &Stage) -> Result<usize> {
    let mut ip = stage.lab.lb.command("ip")?;
    let links = run(ip.args(["-o", "link", "show"]))?;
    Ok(links.matches("prog/xdp").count())
}
