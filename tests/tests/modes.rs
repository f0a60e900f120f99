//! Real traffic in every forwarding mode by every version of IP.
//!
//! A case is a site of its own (its picture is in the harness's `site`) with one
//! daemon, and goes through all of [`STEPS`]:
//!
//! ```text
//!   step                        who talks                proves
//!   the VIP's neighbours        router, ping             ARP or solicitations and echo requests
//!                                                        are answered
//!   requests                    client, nginx            TCP, by both servers
//!   names                       dig, dnsmasq             UDP, by both servers
//!   bulk                        iperf3 both ways         full-sized segments
//!   fragments                   UDP echo of 4,000 bytes  later fragments follow their first
//!   a narrow way to servers     iperf3 up                the client is told what fits
//!   a narrow way to clients     iperf3 down              the router's errors reach the server
//! ```
//!
//! In a tunnel the way to servers is narrow from the start: the outer header takes its
//! part of the link.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use flowgate_tests::{
    bulk::Direction,
    client, counters, dns, echo,
    machine::online_cpus,
    netns::run,
    ping::ping,
    site::{Description, Family, Site, Way, Wiring},
    wait::{eventually, slowness},
};

const SOON: Duration = Duration::from_secs(5);
/// What a bulk transfer transfers.
const BYTES: u64 = 2 << 20;

macro_rules! cases {
    ($($(#[$ignored:meta])? $name:ident: $way:ident, $vip:ident, $servers:ident, $wiring:ident;)+) => {$(
        #[test]
        $(#[$ignored])?
        fn $name() -> Result<()> {
            all_steps(Description {
                way: Way::$way,
                vip: Family::$vip,
                servers: Family::$servers,
                wiring: Wiring::$wiring,
            })
        }
    )+};
}

cases! {
    // Name: mode, what clients speak, what servers are spoken to by, how all are connected.
    dsr_ipv4: Dsr, V4, V4, Switches;
    dsr_ipv6_only: Dsr, V6, V6, Switches;
    nat_ipv4: Nat, V4, V4, Switches;
    nat_ipv6_only: Nat, V6, V6, Switches;
    full_nat_ipv4: FullNat, V4, V4, Switches;
    full_nat_ipv6_only: FullNat, V6, V6, Switches;
    ipip_ipv4: Ipip, V4, V4, Switches;
    ipip_ipv6_only: Ipip, V6, V6, Switches;
    ipip_mixed_ipv4_to_ipv6_servers: Ipip, V4, V6, Switches;
    ipip_mixed_ipv6_to_ipv4_servers: Ipip, V6, V4, Switches;
    gue_ipv4: Gue, V4, V4, Switches;
    gue_ipv6_only: Gue, V6, V6, Switches;
    #[ignore = "needs VLAN devices (module 8021q), which `cargo xtask vm test` has"]
    trunk_dsr_ipv4: Dsr, V4, V4, Trunk;
    #[ignore = "needs VLAN devices (module 8021q), which `cargo xtask vm test` has"]
    trunk_nat_ipv4: Nat, V4, V4, Trunk;
    #[ignore = "needs VLAN devices (module 8021q), which `cargo xtask vm test` has"]
    trunk_nat_ipv6_only: Nat, V6, V6, Trunk;
}

type Step = fn(&mut Site) -> Result<()>;

/// What each case goes through. The last two leave the site narrower.
const STEPS: [(&str, Step); 7] = [
    ("the VIP's neighbours", neighbours),
    ("requests", requests),
    ("names", names),
    ("bulk", bulk_both_ways),
    ("fragments", fragments),
    ("a narrow way to servers", narrow_to_servers),
    ("a narrow way to clients", narrow_to_clients),
];

fn all_steps(description: Description) -> Result<()> {
    Site::test(description, |site| {
        for server in &site.servers {
            if let Some(decapsulator) = &server.decapsulator {
                println!("{}: {}", server.name(), decapsulator.name());
            }
        }
        for (name, step) in STEPS {
            step(site).context(name)?;
        }
        Ok(())
    })
}

fn neighbours(site: &mut Site) -> Result<()> {
    for payload in [0, 56, 1400] {
        ping(&site.client, site.vip(), payload)
            .with_context(|| format!("ping of {payload} bytes"))?;
    }
    let mut ip = site.router.command("ip")?;
    let neighbour = run(ip.args(["neigh", "show", &site.vip().to_string()]))?;
    ensure!(neighbour.contains("02:00:00:00:00:02"), "{neighbour}");
    let answer = match site.description.vip {
        Family::V4 => "answer_arp",
        Family::V6 => "answer_solicitation",
    };
    let verdicts = counters::of_verdicts(&site.flowgate)?;
    ensure!(verdicts[answer] >= 1, "{verdicts:?}");
    ensure!(verdicts["answer_echo"] == 3, "{verdicts:?}");
    Ok(())
}

fn requests(site: &mut Site) -> Result<()> {
    let before = client::syns_again(&site.client)?;
    let report = client::requests(&site.client, site.at(80), 40)?;
    ensure!(report.failed() == 0, "{:?}", report.reasons());
    // Each CPU has its own turn.
    let (web1, web2) = (report.of("web1"), report.of("web2"));
    let tolerance = online_cpus()?.max(10);
    ensure!(web1.abs_diff(web2) <= tolerance, "{:?}", report.answers());
    // An emulated machine takes longer than the kernel waits before it sends a SYN again.
    let lost = client::syns_again(&site.client)? - before;
    ensure!(
        lost == 0 || report.slowest() < Duration::from_secs(1) * slowness(),
        "{lost} SYNs were lost"
    );
    Ok(())
}

fn names(site: &mut Site) -> Result<()> {
    // Each CPU has its own turn, and one of them gets two of these at least.
    let questions = (online_cpus()? + 2).max(4);
    let answers: BTreeSet<_> = (0..questions)
        .map(|_| dns::ask(&site.client, site.vip()))
        .collect::<Result<_>>()?;
    ensure!(answers.len() == 2, "only {answers:?} answered");
    Ok(())
}

fn bulk_both_ways(site: &mut Site) -> Result<()> {
    site.transfer(Direction::Up, BYTES)?;
    site.transfer(Direction::Down, BYTES)
}

fn fragments(site: &mut Site) -> Result<()> {
    let mut labels = vec!["forward_fragment"];
    if !site.description.way.keeps_vip() {
        labels.push("return_fragment");
    }
    // Three fragments, of which two are later ones.
    counters::rise(&site.flowgate, &labels, 4, || {
        (0..2).try_for_each(|_| echo::ask(&site.client, site.at(7), 4000))
    })
}

fn narrow_to_servers(site: &mut Site) -> Result<()> {
    const MTU: u32 = 1400;
    let device = site.description.device_to_servers();
    for server in &site.servers {
        let (address, bits) = (server.address, site.description.servers.bits());
        site.lb.ip(&format!(
            "route replace {address}/{bits} dev {device} mtu {MTU}"
        ))?;
    }
    eventually(SOON, "the daemon knows that the ways are narrow", || {
        let services = site.flowgate.json(&["backend", "list"])?;
        let services = services.as_array().context("no list")?;
        let mut widths = services
            .iter()
            .flat_map(|service| service["backends"].as_array().into_iter().flatten())
            .map(|backend| backend["link"]["path_mtu"].as_u64());
        let narrow = widths.all(|width| width.is_some_and(|width| width <= MTU.into()));
        Ok(narrow.then_some(()))
    })?;
    counters::rise(&site.flowgate, &["answer_too_big"], 1, || {
        site.transfer(Direction::Up, BYTES)
    })
}

fn narrow_to_clients(site: &mut Site) -> Result<()> {
    site.router.ip("link set clients mtu 1300")?;
    counters::rise(&site.flowgate, &["forward_error"], 1, || {
        site.transfer(Direction::Down, BYTES)
    })
}
