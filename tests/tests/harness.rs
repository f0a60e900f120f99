//! The harness itself, with the kernel forwarding in the product's stead: what
//! fails here is no fault of the product.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use flowgate_tests::{
    client::{self, Load},
    held::{Download, Held},
    lab::{Lab, Mode},
    marks,
    nginx::DOWNLOAD_BYTES,
    wait::eventually,
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
