//! Web servers that go away in other ways than by a crash.

use std::time::Duration;

use anyhow::Result;
use flowgate_tests::{
    client::{self, Report},
    counters,
    lab::Mode,
    stage::Stage,
    wait::eventually,
};

/// Also covers the kernel's own resolution of an address, which may need three
/// tries of a second each.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes small bursts of requests until `satisfied` with one.
fn until(stage: &Stage, what: &str, satisfied: impl Fn(&Report) -> bool) -> Result<()> {
    eventually(PATIENCE, what, || {
        let report = client::requests(&stage.lab.client, stage.lab.vip(), 8)?;
        Ok(satisfied(&report).then_some(()))
    })
}

fn both_answer(report: &Report) -> bool {
    report.of("web1") > 0 && report.of("web2") > 0 && report.failed() == 0
}

fn wait_for_state(stage: &Stage, backend: &str, state: &str) -> Result<()> {
    eventually(PATIENCE, &format!("{backend} is {state}"), || {
        let states = stage.flowgate.states()?;
        let wanted = (backend.to_owned(), state.to_owned());
        Ok(states.contains(&wanted).then_some(()))
    })
}

#[test]
fn a_server_whose_cable_is_pulled_gets_nothing_until_it_is_back() -> Result<()> {
    Stage::test_each_mode(|stage| {
        stage.lab.webs[0].host.ip("link set eth0 down")?;
        wait_for_state(stage, "web/web1", "down")?;
        let report = client::requests(&stage.lab.client, stage.lab.vip(), 40)?;
        assert_eq!((report.of("web2"), report.failed()), (40, 0));

        let (_, gateway) = stage.lab.mode.web_network();
        stage.lab.webs[0].host.ip(&format!(
            "link set eth0 up\nroute replace default via {gateway}"
        ))?;
        wait_for_state(stage, "web/web1", "active")?;
        until(stage, "web1 answers again", both_answer)
    })
}

#[test]
fn a_server_that_changes_its_mac_address_is_found_again() -> Result<()> {
    Stage::test_each_mode(|stage| {
        let host = &stage.lab.webs[0].host;
        // As the replacement of a broken network card would, it tells its neighbours.
        host.sysctl("net.ipv4.conf.eth0.arp_notify", "1")?;
        host.ip("link set eth0 address 02:00:00:00:00:99")?;
        until(stage, "web1 answers under its new address", both_answer)
    })
}

#[test]
fn without_any_server_packets_are_dropped_and_counted() -> Result<()> {
    Stage::test(Mode::Dsr, |stage| {
        for name in stage.webs() {
            stage.lab.web(&name).nginx.kill()?;
        }
        for backend in ["web/web1", "web/web2"] {
            wait_for_state(stage, backend, "down")?;
        }
        let report = client::requests(&stage.lab.client, stage.lab.vip(), 1)?;
        assert_eq!(report.failed(), 1);
        let verdicts = counters::of_verdicts(&stage.flowgate)?;
        assert!(verdicts["drop_no_backend"] >= 1, "{verdicts:?}");

        for name in stage.webs() {
            stage.lab.web(&name).restart()?;
        }
        until(stage, "both servers answer again", both_answer)
    })
}
