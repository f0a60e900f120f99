//! The load balancer's interfaces change while traffic flows.
//!
//! ```text
//!   client ─────── router ─────── front  lb  back ────────┬─────────┐
//!                                  ▲           ▲          web1      web2
//!                                  └── down and up, another MTU, another MAC address
//! ```
//!
//! Each step is seen in `flowgate status` or on the network, and requests are answered
//! after it.

use std::time::Duration;

use anyhow::{Context, Result};
use flowgate_tests::{
    bulk::Direction,
    client, counters,
    netns::run,
    site::{Description, Family, Network, Site, Way, Wiring},
    wait::eventually,
};
use serde_json::Value;

/// Also covers the kernel's own resolution of an address, which may need three tries of
/// a second each.
const PATIENCE: Duration = Duration::from_secs(15);
/// What a bulk transfer transfers.
const BYTES: u64 = 1 << 20;

#[test]
fn links_change_ipv4() -> Result<()> {
    all_steps(Family::V4)
}

#[test]
fn links_change_ipv6() -> Result<()> {
    all_steps(Family::V6)
}

fn all_steps(family: Family) -> Result<()> {
    let description = Description {
        way: Way::Nat,
        vip: family,
        servers: family,
        wiring: Wiring::Switches,
    };
    Site::test(description, |site| {
        if family == Family::V6 {
            site.lb.sysctl("net.ipv6.conf.all.keep_addr_on_down", "1")?;
        }
        answered(site).context("at first")?;
        down_and_up(site).context("down and up")?;
        other_mtu(site).context("another MTU")?;
        other_mac(site).context("another MAC address")
    })
}

fn down_and_up(site: &mut Site) -> Result<()> {
    for network in [Network::Back, Network::Front] {
        let name = network.name();
        site.lb.ip(&format!("link set {name} down"))?;
        let what = format!("status says that {name} is down, and the way out");
        eventually(PATIENCE, &what, || {
            let view = interface(site, name)?;
            let way_out = format!("ip link set {name} up");
            let told = view["trouble"]
                .as_str()
                .is_some_and(|trouble| trouble.contains(&way_out));
            Ok((view["state"] == "down" && told).then_some(()))
        })?;
        if network == Network::Back {
            // The kernel's route to them now is the default one, by the router, so that
            // only checks tell that they can't be reached.
            eventually(PATIENCE, "checks say that the servers are down", || {
                all_are(site, "web/", "down")
            })?;
        }
        site.lb.ip(&format!("link set {name} up"))?;
        if network == Network::Front {
            let router = site.description.vip.host(Network::Front, 1);
            site.lb.ip(&format!("route replace default via {router}"))?;
        }
        eventually(PATIENCE, &format!("status says that {name} is up"), || {
            let view = interface(site, name)?;
            Ok((view["state"] == "up" && view["trouble"].is_null()).then_some(()))
        })?;
        eventually(PATIENCE, "all servers are active", || {
            all_are(site, "", "active")
        })?;
        answered(site).with_context(|| format!("after {name} was down"))?;
    }
    Ok(())
}

fn other_mtu(site: &mut Site) -> Result<()> {
    const MTU: u64 = 1400;
    site.lb.ip(&format!("link set back mtu {MTU}"))?;
    eventually(PATIENCE, "status shows the new MTU", || {
        let status = site.flowgate.json(&["status"])?;
        let paths = backends(&status).map(|backend| &backend["link"]["path_mtu"]);
        let mut paths = paths.peekable();
        let known = paths.peek().is_some() && paths.all(|path| *path == MTU);
        Ok((known && interface(site, "back")?["mtu"] == MTU).then_some(()))
    })?;
    counters::rise(&site.flowgate, &["answer_too_big"], 1, || {
        site.transfer(Direction::Up, BYTES)
    })?;
    // Only now do servers have it too: they tell clients of it when they connect.
    for server in &site.servers {
        server.host.ip(&format!("link set eth0 mtu {MTU}"))?;
    }
    site.transfer(Direction::Down, BYTES)?;
    answered(site)
}

fn other_mac(site: &mut Site) -> Result<()> {
    // The kernel tells the servers of the gateway's new address by itself.
    site.lb.sysctl("net.ipv4.conf.back.arp_notify", "1")?;
    if site.description.vip == Family::V6 {
        site.lb.sysctl("net.ipv6.conf.back.ndisc_notify", "1")?;
    }
    site.lb.ip("link set back address 02:00:00:00:01:98")?;
    answered(site).context("of the interface to the servers")?;

    site.lb.ip("link set front address 02:00:00:00:00:99")?;
    eventually(PATIENCE, "the VIP is found at the new address", || {
        // As time would: the router asks again for what it knows.
        let vip = site.vip().to_string();
        site.router
            .ip(&format!("neigh replace {vip} dev front nud none"))?;
        let _ = flowgate_tests::ping::ping(&site.client, site.vip(), 56);
        let mut ip = site.router.command("ip")?;
        let known = run(ip.args(["neigh", "show", &vip]))?;
        Ok(known.contains("02:00:00:00:00:99").then_some(()))
    })?;
    answered(site).context("of the interface to the clients")
}

/// Waits until a burst of requests is answered by both servers.
fn answered(site: &Site) -> Result<()> {
    eventually(PATIENCE, "requests are answered by both servers", || {
        let report = client::requests(&site.client, site.at(80), 8)?;
        let both = report.of("web1") > 0 && report.of("web2") > 0;
        Ok((both && report.failed() == 0).then_some(()))
    })
}

/// Whether all backends whose names begin so are in that state.
fn all_are(site: &Site, names: &str, state: &str) -> Result<Option<()>> {
    let states = site.flowgate.states()?;
    let mut named = states.iter().filter(|(name, _)| name.starts_with(names));
    Ok(named.all(|(_, now)| now == state).then_some(()))
}

/// What `flowgate status` shows of an interface.
fn interface(site: &Site, name: &str) -> Result<Value> {
    let status = site.flowgate.json(&["status"])?;
    let mut views = status["interfaces"].as_array().into_iter().flatten();
    let view = views.find(|view| view["name"] == name);
    view.cloned()
        .with_context(|| format!("no interface {name} in {status}"))
}

fn backends(status: &Value) -> impl Iterator<Item = &Value> {
    let services = status["services"].as_array().into_iter().flatten();
    services.flat_map(|service| service["backends"].as_array().into_iter().flatten())
}
