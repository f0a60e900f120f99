//! What passes through the load balancer, what it answers, and what it lets be.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};
use flowgate_tests::{
    client, counters,
    lab::{LB, Mode, VIP},
    netns::run,
    ping::ping,
    stage::Stage,
    stream,
    wait::eventually,
};

const SOON: Duration = Duration::from_secs(5);
/// A port that the servers don't listen on.
const SSH: u16 = 22;

#[test]
fn requests_are_answered_by_both_servers() -> Result<()> {
    Stage::test_each_mode(|stage| {
        let report = client::requests(&stage.lab.client, stage.lab.vip(), 50)?;
        assert_eq!(report.failed(), 0, "{:?}", report.reasons());
        assert!(report.of("web1") > 0 && report.of("web2") > 0);
        Ok(())
    })
}

#[test]
fn the_vip_answers_arp_and_ping_from_the_load_balancer() -> Result<()> {
    Stage::test_each_mode(|stage| {
        for payload in [0, 1, 56, 1400] {
            ping(&stage.lab.client, VIP, payload)
                .with_context(|| format!("ping of {payload} bytes"))?;
        }
        let mut ip = stage.lab.router.command("ip")?;
        let neighbour = run(ip.args(["neigh", "show", &VIP.to_string()]))?;
        assert!(neighbour.contains("02:00:0a:00:00:02"), "{neighbour}");
        let verdicts = counters::of_verdicts(&stage.flowgate)?;
        assert_eq!(verdicts["answer_echo"], 4);
        assert!(verdicts["answer_arp"] >= 1);
        Ok(())
    })
}

#[test]
fn traffic_to_the_load_balancers_own_address_passes_untouched() -> Result<()> {
    Stage::test_each_mode(|stage| {
        ping(&stage.lab.client, LB, 1400)?;
        ping(&stage.lab.lb, stage.lab.webs[0].address, 1400)?;
        stream::echoes(&stage.lab.lb, &stage.lab.client, (LB, SSH).into())
    })
}

#[test]
fn traffic_between_others_on_the_network_passes_untouched() -> Result<()> {
    Stage::test(Mode::Dsr, |stage| {
        let web = &stage.lab.webs[0];
        ping(&stage.lab.client, web.address, 1400)?;
        stream::echoes(&web.host, &stage.lab.client, (web.address, SSH).into())
    })
}

#[test]
fn a_closed_port_of_the_vip_is_silent_and_counted() -> Result<()> {
    Stage::test_each_mode(|stage| {
        let closed = SocketAddr::from((VIP, 22));
        let patience = Duration::from_millis(500);
        let outcome = stage
            .lab
            .client
            .run(|| TcpStream::connect_timeout(&closed, patience));
        let error = outcome.err().context("a closed port was opened")?;
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        eventually(SOON, "the drop is counted", || {
            let verdicts = counters::of_verdicts(&stage.flowgate)?;
            Ok((verdicts["drop_closed_port"] >= 1).then_some(()))
        })
    })
}
