//! What the active node's own work costs it. A test binary of its own, so that nothing else
//! loads programs meanwhile: other tests' nodes share this machine's CPUs.

use std::{fs, thread, time::Duration};

use anyhow::{Result, anyhow, ensure};
use flowgate_tests::{
    bpffs::PinDir,
    flowgate::{self, Flowgate},
    pair::{
        bed::{Bed, PORT, Side, VIP, web_address},
        way::Way,
    },
    steal,
    wait::eventually,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// Reloads that attach a program.
const RELOADS: usize = 8;

fn configuration(interfaces: &str) -> String {
    let server = web_address(Way::Dsr, 1);
    format!(
        "[node]\ninterfaces = {interfaces}\nmax_flows = 4096\n\n[[vrrp]]\nname = \"site\"\n\
         interface = \"front\"\nvrid = 51\npriority = 150\ninterval = \"{}ms\"\n\n\
         [[service]]\nname = \"echo\"\nvip = \"{VIP}\"\nport = {PORT}\nprotocol = \"tcp\"\n\
         forward = \"dsr\"\n\n[[service.backend]]\nname = \"web1\"\naddress = \"{server}\"\n",
        INTERVAL.as_millis()
    )
}

/// The interval of advertisements. A lease is three of them, so whoever loses it is late by two.
const INTERVAL: Duration = Duration::from_millis(20);

/// The verifier keeps a CPU for longer than the lease of 60 ms, and the VIP stays all the same:
/// the program is loaded on another CPU than the one that VRRP runs on.
///
/// ```text
///   lb1 ── front   its program, and VRRP's advertisements
///    └──── back    gets a program, and loses it again
/// ```
#[test]
fn the_active_node_attaches_to_another_interface_and_stays_active() -> Result<()> {
    if thread::available_parallelism()?.get() == 1 {
        eprintln!("not tested: there is one CPU, which whoever loads a program has to itself");
        return Ok(());
    }
    let bed = Bed::build()?;
    steal::despite(|| {
        bed.reset(Way::Dsr)?;
        let pins = PinDir::new()?;
        let one = configuration("[\"front\"]");
        let mut node = Flowgate::installed(&flowgate::binary()?, bed.scratch(), pins.path(), &one)?;
        node.launch(&bed.node(Side::First).host)?;
        let stays = reloads(&node, &one);
        stays.map_err(|error| anyhow!("{error:#}\n{}", node.log()))
    })
}

fn reloads(node: &Flowgate, one: &str) -> Result<()> {
    let group = || -> Result<Value> { Ok(node.json(&["vip", "status"])?["groups"][0].take()) };
    let before = eventually(SOON, "the node is active", || {
        Ok(Some(group()?).filter(|group| group["state"] == "active"))
    })?;
    let two = configuration("[\"front\", \"back\"]");
    let mut longest = Duration::ZERO;
    for _ in 0..RELOADS {
        for text in [&two, one] {
            let waited = node.waited_for_cpu("vrrp")?;
            fs::write(node.configuration(), text)?;
            node.said(&["reload"])?;
            longest = longest.max(node.waited_for_cpu("vrrp")? - waited);
        }
    }
    // A machine whose CPUs stand still for longer than the lease, as a guest's may, loses the VIP
    // without anybody's doing. Nothing wakes the thread then; behind the verifier it is awake, and
    // waits.
    let after = group()?;
    ensure!(
        after["transitions"] == before["transitions"] || longest < INTERVAL,
        "the VIP was lost, and VRRP waited {longest:?} for a CPU: {after}"
    );
    Ok(())
}
