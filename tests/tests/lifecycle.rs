//! Starting, stopping, and being refused.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::Result;
use flowgate_tests::{
    bpffs::PinDir,
    client, counters, flowgate,
    lab::Mode,
    netns::run,
    process::{Process, how},
    stage::Stage,
    wait,
};
use rustix::process::Signal;

#[test]
fn ctrl_c_stops_the_daemon_and_leaves_forwarding_in_place() -> Result<()> {
    Stage::test_each_mode(|stage| {
        let status = stage.flowgate.stop(Signal::INT)?;
        assert!(status.success(), "{}", how(status));
        let report = client::requests(&stage.lab.client, stage.lab.vip(), 50)?;
        assert_eq!(report.failed(), 0, "{:?}", report.reasons());
        stage.flowgate.start(&stage.lab.lb)
    })
}

#[test]
fn counters_survive_the_daemon() -> Result<()> {
    Stage::test(Mode::Dsr, |stage| {
        client::requests(&stage.lab.client, stage.lab.vip(), 20)?;
        stage.flowgate.kill()?;
        client::requests(&stage.lab.client, stage.lab.vip(), 20)?;
        stage.flowgate.start(&stage.lab.lb)?;
        let counted = counters::of_backends(&stage.flowgate, "web")?;
        let connections: u64 = counted.values().map(|traffic| traffic.connections).sum();
        assert_eq!(connections, 40);
        Ok(())
    })
}

#[test]
fn after_unload_nobody_holds_the_vip() -> Result<()> {
    Stage::test_each_mode(|stage| {
        stage.flowgate.stop(Signal::TERM)?;
        stage.flowgate.unload(&stage.lab.lb)?;
        assert!(!stage.flowgate.pin_dir().exists());
        let report = client::requests(&stage.lab.client, stage.lab.vip(), 4)?;
        assert_eq!(report.failed(), 4);
        // And it can be had again, once the router has given up asking for nobody.
        stage.flowgate.start(&stage.lab.lb)?;
        wait::eventually(Duration::from_secs(10), "the VIP is found again", || {
            let report = client::requests(&stage.lab.client, stage.lab.vip(), 1)?;
            Ok((report.failed() == 0).then_some(()))
        })?;
        let report = client::requests(&stage.lab.client, stage.lab.vip(), 4)?;
        assert_eq!(report.failed(), 0, "{:?}", report.reasons());
        Ok(())
    })
}

#[test]
fn a_second_daemon_on_an_interface_is_refused_and_changes_nothing() -> Result<()> {
    Stage::test(Mode::Dsr, |stage| {
        refused(stage, "front")?;
        let report = client::requests(&stage.lab.client, stage.lab.vip(), 50)?;
        assert_eq!(report.failed(), 0, "{:?}", report.reasons());
        stage.flowgate.said(&["status"]).map(drop)
    })
}

#[test]
fn a_missing_interface_is_named() -> Result<()> {
    Stage::test(Mode::Dsr, |stage| {
        let path = stage.flowgate.configuration();
        let text = fs::read_to_string(path)?;
        fs::write(path, text.replace("\"front\"", "\"nosuch0\""))?;
        refused(stage, "nosuch0")
    })
}

/// The file is in order, and then what was changed can't be kept on disk.
#[test]
fn a_reload_that_is_refused_late_attaches_nothing() -> Result<()> {
    Stage::test(Mode::Dsr, |stage| {
        let lb = &stage.lab.lb;
        lb.ip("link add extra type veth peer name extra-end")?;
        let path = stage.flowgate.configuration();
        let text = fs::read_to_string(path)?;
        fs::write(path, text.replace("\"front\"", "\"front\", \"extra\""))?;
        let kept = stage.lab.scratch().join("run/runtime.json");
        if kept.exists() {
            fs::remove_file(&kept)?;
        }
        fs::create_dir(&kept)?;
        let refused = stage.flowgate.command(&["reload"])?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{said}");
        assert!(said.contains("can't keep the change"), "{said}");
        // The kernel takes its time to detach.
        wait::eventually(Duration::from_secs(10), "nothing runs there", || {
            let mut ip = lb.command("ip")?;
            let link = run(ip.args(["-details", "link", "show", "dev", "extra"]))?;
            Ok((!link.contains("xdp")).then_some(()))
        })?;
        let interfaces = stage.flowgate.json(&["status"])?["interfaces"].take();
        let names = interfaces.as_array().map(Vec::len);
        assert_eq!(names, Some(1), "{interfaces}");
        let report = client::requests(&stage.lab.client, stage.lab.vip(), 50)?;
        assert_eq!(report.failed(), 0, "{:?}", report.reasons());
        Ok(())
    })
}

/// A copy of the binary runs: the binary itself may lie where only root gets.
#[test]
fn without_privileges_it_says_what_it_needs_and_leaves_nothing() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777));
    open(scratch.path())?;
    let binary = scratch.path().join("flowgate");
    // By another process: nothing can be run while anybody has it open for writing, and a child
    // that another test starts meanwhile would have, for a moment.
    run(Command::new("cp").arg(flowgate::binary()?).arg(&binary))?;
    let configuration = scratch.path().join("flowgate.toml");
    fs::write(&configuration, "[node]\ninterfaces = [\"lo\"]\n")?;
    let pins = PinDir::new()?;
    let output = Command::new(&binary)
        .args(["run", "--config"])
        .arg(&configuration)
        .arg("--run-dir")
        .arg(scratch.path().join("run"))
        .arg("--pin-dir")
        .arg(pins.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("needs root") && said.contains("sudo"),
        "{said}"
    );
    assert!(!pins.path().exists(), "its pins are left");
    Ok(())
}

/// The user and group that own nothing.
const NOBODY: u32 = 65_534;

/// Runs another daemon, which must end by itself with an error that says `names`.
fn refused(stage: &Stage, names: &str) -> Result<()> {
    let pins = PinDir::new()?;
    let run_dir = stage.lab.scratch().join("second");
    let command = stage
        .flowgate
        .run_command(&stage.lab.lb, &run_dir, pins.path())?;
    let log = stage.lab.scratch().join("refused.log");
    let mut daemon = Process::start("the refused daemon", command, &log, Signal::KILL)?;
    let status = daemon.wait(Duration::from_secs(30))?;
    let said = daemon.log();
    assert!(!status.success(), "it was not refused: {said}");
    assert!(said.contains(names) && !said.contains("panicked"), "{said}");
    assert!(!pins.path().exists(), "its pins are left");
    Ok(())
}
