//! The harness itself, with the kernel forwarding in the product's stead: what
//! fails here is no fault of the product.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use flowgate_tests::{
    client::{self, Load},
    held::{Download, Held},
    lab::{LB, Lab, Mode, VIP},
    link::End,
    marks,
    netns::run,
    nginx::DOWNLOAD_BYTES,
    ping::ping,
    wait::eventually,
    xdp::{Attached, instruction},
};

const SOON: Duration = Duration::from_secs(5);

fn quiet(_: &str) {}

/// A DSR lab whose router sends the VIP's packets to web1 by itself.
fn routed_to_web1() -> Result<Lab> {
    let lab = Lab::build(Mode::Dsr, &quiet)?;
    lab.router
        .ip("route replace 203.0.113.10/32 via 10.0.0.11")?;
    Ok(lab)
}

#[test]
fn requests_reach_a_server_and_are_counted() -> Result<()> {
    let lab = routed_to_web1()?;
    let report = client::requests(&lab.client, lab.vip(), 200)?;
    assert_eq!(report.failed(), 0, "{:?}", report.reasons());
    assert_eq!((report.total(), report.of("web1")), (200, 200));
    let log = eventually(SOON, "nginx logs the requests", || {
        let log = lab.webs[0].nginx.logged()?;
        Ok((log.requests >= 200).then_some(log))
    })?;
    assert_eq!((log.requests, log.connections), (200, 200));
    assert_eq!(lab.webs[1].nginx.logged()?.requests, 0);
    Ok(())
}

#[test]
fn a_killed_server_fails_requests_until_it_returns() -> Result<()> {
    let mut lab = routed_to_web1()?;
    let vip = lab.vip();
    let mut held = Held::open(&lab.client, vip, 3)?;
    let download = Download::start(&lab.client, vip)?;
    assert_eq!(held.still_with_their_server()?, 3);

    lab.web("web1").nginx.kill()?;
    assert!(download.finish().is_err(), "it died with its server");
    assert_eq!(held.still_with_their_server()?, 0);
    let report = client::requests(&lab.client, vip, 5)?;
    assert_eq!(report.failed(), 5);

    lab.web("web1").restart()?;
    assert_eq!(client::requests(&lab.client, vip, 5)?.of("web1"), 5);
    Ok(())
}

#[test]
fn a_download_arrives_whole_and_beside_load() -> Result<()> {
    let lab = routed_to_web1()?;
    let load = Load::start(&lab.client, lab.vip(), 200)?;
    let download = Download::start(&lab.client, lab.vip())?;
    assert!(download.running());
    assert_eq!(download.server(), "web1");
    assert_eq!(download.finish()?, DOWNLOAD_BYTES);
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{:?}", report.reasons());
    assert!(report.total() > 100, "only {} requests", report.total());
    Ok(())
}

/// Otherwise its kernel resets a connection now and then: see `receive_in_turn`.
#[test]
fn a_server_receives_frames_from_a_queue() -> Result<()> {
    /// Of one connection, at least: SYN, ACK, request, FIN.
    const FRAMES: u64 = 4;
    let lab = routed_to_web1()?;
    let before = queued(&lab)?;
    assert_eq!(client::requests(&lab.client, lab.vip(), 20)?.of("web1"), 20);
    // A frame is counted when the queue is empty again.
    eventually(SOON, "the queue has counted its frames", || {
        let frames = queued(&lab)? - before;
        Ok((frames >= 20 * FRAMES).then_some(()))
    })
}

/// Frames that have passed through the queue of web1's interface.
fn queued(lab: &Lab) -> Result<u64> {
    const COUNTER: &str = "rx_queue_0_xdp_packets:";
    let mut ethtool = lab.webs[0].host.command("ethtool")?;
    let text = run(ethtool.args(["-S", "eth0"]))?;
    let count = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(COUNTER))
        .with_context(|| format!("no {COUNTER} in\n{text}"))?;
    Ok(count.trim().parse()?)
}

/// A load balancer for one server: what is for the VIP is sent out again with the
/// MAC addresses of the load balancer and web1.
fn to_web1() -> [u64; 17] {
    let vip = i32::from_le_bytes(VIP.octets());
    let (web1, own) = (0x0b00, 0x0200);
    [
        instruction(0x61, 2, 1, 0, 0),           // r2 = data
        instruction(0x61, 3, 1, 4, 0),           // r3 = data_end
        instruction(0xbf, 4, 2, 0, 0),           // r4 = r2
        instruction(0x07, 4, 0, 0, 34),          // r4 += 34
        instruction(0x2d, 4, 3, 10, 0),          // if r4 > r3 goto pass
        instruction(0x69, 5, 2, 12, 0),          // r5 = EtherType
        instruction(0x55, 5, 0, 8, 0x0008),      // if not IPv4 goto pass
        instruction(0x61, 5, 2, 30, 0),          // r5 = destination
        instruction(0x55, 5, 0, 6, vip),         // if not the VIP goto pass
        instruction(0x62, 2, 0, 0, 0x000a_0002), // destination MAC 02:00:0a:00
        instruction(0x6a, 2, 0, 4, web1),        //                 00:0b
        instruction(0x62, 2, 0, 6, 0x000a_0002), // source MAC 02:00:0a:00
        instruction(0x6a, 2, 0, 10, own),        //            00:02
        instruction(0xb7, 0, 0, 0, 3),           // r0 = XDP_TX
        instruction(0x95, 0, 0, 0, 0),           // exit
        instruction(0xb7, 0, 0, 0, 2),           // pass: r0 = XDP_PASS
        instruction(0x95, 0, 0, 0, 0),           // exit
    ]
}

#[test]
fn what_an_xdp_program_sends_arrives() -> Result<()> {
    let lab = Lab::build(Mode::Dsr, &quiet)?;
    lab.router
        .ip("neigh replace 203.0.113.10 lladdr 02:00:0a:00:00:02 dev front")?;
    let front = End {
        host: &lab.lb,
        device: "front",
    };
    let _program = Attached::new(front, &to_web1())?;
    let before = client::syns_again(&lab.client)?;
    let report = client::requests(&lab.client, lab.vip(), 200)?;
    assert_eq!(report.of("web1"), 200, "{:?}", report.reasons());
    let lost = client::syns_again(&lab.client)? - before;
    assert_eq!(lost, 0, "frames were lost");
    ping(&lab.client, LB, 1400)
}

#[test]
fn the_nat_lab_leads_through_the_load_balancer() -> Result<()> {
    let lab = Lab::build(Mode::Nat, &quiet)?;
    lab.router.ip("route add 10.0.1.0/24 via 10.0.0.2")?;
    let web1 = SocketAddr::from((lab.webs[0].address, Mode::Nat.web_port(80)));
    assert!(
        client::requests(&lab.client, web1, 1)?.failed() == 1,
        "the load balancer's kernel forwards nothing by itself"
    );
    lab.lb.sysctl("net.ipv4.ip_forward", "1")?;
    assert_eq!(client::requests(&lab.client, web1, 20)?.of("web1"), 20);
    Ok(())
}

#[test]
fn nothing_is_left_of_a_lab() -> Result<()> {
    let lab = Lab::build(Mode::Nat, &quiet)?;
    let names: Vec<_> = [&lab.client, &lab.router, &lab.lb]
        .map(|host| host.name().to_owned())
        .into();
    let paths: Vec<_> = [&lab.client, &lab.lb, &lab.webs[0].host]
        .map(|host| host.path())
        .into();
    let scratch = lab.scratch().to_owned();
    let left = marks::leftovers(std::process::id()).join("\n");
    for name in names {
        assert!(left.contains(&name), "{name} is missing in\n{left}");
    }
    assert!(left.contains("(nginx)"), "{left}");
    drop(lab);
    assert!(paths.iter().all(|path| !path.exists()));
    assert!(!scratch.exists());
    Ok(())
}

#[test]
fn a_lab_is_removed_when_a_test_panics() -> Result<()> {
    let lab = routed_to_web1()?;
    let (path, scratch) = (lab.client.path(), lab.scratch().to_owned());
    let result = std::thread::spawn(move || {
        let _lab = lab;
        std::panic::resume_unwind(Box::new("a test fails"));
    })
    .join();
    assert!(result.is_err());
    assert!(!path.exists() && !scratch.exists());
    Ok(())
}
