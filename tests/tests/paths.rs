//! Links of another size than most: jumbo frames everywhere, and a narrow link that the
//! load balancer doesn't know of.
//!
//! The pictures are in the harness's `site`: on every link of a jumbo site the MTU is
//! 9,000; on a routed one `far`'s link to the servers becomes narrow.

use anyhow::{Context, Result, ensure};
use flowgate_tests::{
    bulk::Direction,
    client,
    counters::{self, Traffic},
    echo,
    link::End,
    netns::run,
    site::{Description, Family, Site, Way, Wiring},
    xdp,
};

/// Enough for hundreds of jumbo frames.
const BYTES: u64 = 2 << 20;

macro_rules! cases {
    ($steps:ident, $wiring:ident: $($name:ident: $way:ident, $vip:ident, $servers:ident;)+) => {$(
        #[test]
        fn $name() -> Result<()> {
            let description = Description {
                way: Way::$way,
                vip: Family::$vip,
                servers: Family::$servers,
                wiring: Wiring::$wiring,
            };
            Site::test(description, $steps)
        }
    )+};
}

cases! {
    jumbo_frames, Jumbo:
    jumbo_dsr_ipv4: Dsr, V4, V4;
    jumbo_dsr_ipv6: Dsr, V6, V6;
    jumbo_nat_ipv4: Nat, V4, V4;
    jumbo_nat_ipv6: Nat, V6, V6;
}

cases! {
    narrow_tunnel, Routed:
    narrow_ipip_ipv4: Ipip, V4, V4;
    narrow_ipip_ipv6: Ipip, V6, V6;
    narrow_ipip_ipv4_to_ipv6_servers: Ipip, V4, V6;
    narrow_ipip_ipv6_to_ipv4_servers: Ipip, V6, V4;
    narrow_gue_ipv4: Gue, V4, V4;
    narrow_gue_ipv6: Gue, V6, V6;
}

/// Long packets go through, both ways, by the program for frames of several buffers.
fn jumbo_frames(site: &mut Site) -> Result<()> {
    let status = site.flowgate.json(&["status"])?;
    for (place, name) in site.description.interfaces().into_iter().enumerate() {
        let mode = &status["interfaces"][place]["mode"];
        ensure!(*mode == "native-multi-buffer", "{name}: attached: {mode}");
        let program = xdp::program(End::new(&site.lb, name))?;
        ensure!(program == "flowgate_frags", "{name} runs {program}");
    }
    // One packet of 8,900 bytes there, and one back.
    let headers = match site.description.vip {
        Family::V4 => 28,
        Family::V6 => 48,
    };
    let before = sum(site, "echo")?;
    echo::ask(&site.client, site.at(7), 8_900 - headers)?;
    let asked = sum(site, "echo")? - before;
    let average = asked.bytes / asked.packets.max(1);
    ensure!(average >= 8_900, "datagrams of {average} bytes were sent");

    let before = sum(site, "bulk")?;
    site.transfer(Direction::Up, BYTES)?;
    let up = sum(site, "bulk")? - before;
    let average = up.bytes / up.packets.max(1);
    ensure!(average > 4_000, "{average} bytes a packet: {up:?}");

    let before = sum(site, "bulk")?;
    site.transfer(Direction::Down, BYTES)?;
    // Past the load balancer, unless it translates.
    if site.description.way == Way::Nat {
        let down = sum(site, "bulk")? - before;
        let average = down.bytes_out / down.packets_out.max(1);
        ensure!(average > 4_000, "{average} bytes a packet: {down:?}");
    }
    let verdicts = counters::of_verdicts(&site.flowgate)?;
    for label in ["forward_fragment", "answer_too_big", "drop_too_big"] {
        ensure!(verdicts[label] == 0, "{label}: {verdicts:?}");
    }
    Ok(())
}

/// A router in the tunnel finds packets too long. It tells the load balancer, which tells
/// the client.
fn narrow_tunnel(site: &mut Site) -> Result<()> {
    const MTU: u32 = 1400;
    let report = client::requests(&site.client, site.at(80), 8)?;
    ensure!(report.failed() == 0, "{:?}", report.reasons());
    site.transfer(Direction::Up, BYTES)
        .context("while every link is wide")?;
    let before = counters::of_verdicts(&site.flowgate)?["relay_too_big"];
    ensure!(before == 0, "{before} were told before anything was narrow");

    let far = site.far.as_ref().context("no router before the servers")?;
    far.ip(&format!("link set back mtu {MTU}"))?;
    counters::rise(&site.flowgate, &["relay_too_big"], 1, || {
        site.transfer(Direction::Up, BYTES)
    })
    .context("behind a narrow link")?;

    // And what: the link's MTU, less the outer headers.
    let headers = match site.description.servers {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    let udp = if site.description.way == Way::Gue {
        8
    } else {
        0
    };
    let mut ip = site.client.command("ip")?;
    let known = run(ip.args(["route", "get", &site.vip().to_string()]))?;
    let expected = format!(" mtu {} ", MTU - headers - udp);
    ensure!(known.contains(&expected), "the client knows {known}");
    Ok(())
}

/// What was counted for a service's backends together.
fn sum(site: &Site, service: &str) -> Result<Traffic> {
    let backends = counters::of_backends(&site.flowgate, service)?;
    Ok(backends.into_values().sum())
}
