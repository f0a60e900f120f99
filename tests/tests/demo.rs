//! The demo cleans up after itself, whenever and however it is stopped.

use std::{
    process::Command,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use anyhow::Result;
use flowgate_tests::{flowgate, interrupt, marks, process::Process, wait::eventually};
use rustix::process::Signal;

const DEADLINE: Duration = Duration::from_secs(30);
/// Each demo begins with removing what the dead have left: none may begin, but for the one that
/// holds this for writing, while that is looked at.
static BEGINNING: RwLock<()> = RwLock::new(());

/// Starts the demo and waits until something of it in the system is called `until`.
fn demo(log: &tempfile::NamedTempFile, until: &str) -> Result<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowgate-demo"));
    command.arg("--flowgate").arg(flowgate::binary()?);
    let mut demo = Process::start("the demo", command, log.path(), Signal::TERM)?;
    eventually(DEADLINE, &format!("the demo makes {until}"), || {
        if let Some(status) = demo.ended()? {
            anyhow::bail!("the demo ended ({status}):\n{}", demo.log());
        }
        let made = marks::leftovers(pid(&demo));
        Ok(made.iter().any(|thing| thing.contains(until)).then_some(()))
    })?;
    Ok(demo)
}

fn pid(process: &Process) -> u32 {
    process.pid().as_raw_pid().unsigned_abs()
}

fn leaves_nothing(until: &str, signal: Signal) -> Result<()> {
    interrupt::install();
    let log = tempfile::NamedTempFile::new()?;
    let mut demo = {
        let _shared = BEGINNING.read().unwrap_or_else(PoisonError::into_inner);
        demo(&log, until)?
    };
    demo.signal(signal)?;
    let status = demo.wait(DEADLINE)?;
    assert_eq!(status.code(), Some(130), "{}", demo.log());
    assert_eq!(marks::leftovers(pid(&demo)), [""; 0], "{}", demo.log());
    Ok(())
}

#[test]
fn ctrl_c_in_the_first_moment() -> Result<()> {
    leaves_nothing("namespace", Signal::INT)
}

#[test]
fn ctrl_c_while_it_sets_up() -> Result<()> {
    leaves_nothing("(nginx)", Signal::INT)
}

#[test]
fn ctrl_c_while_the_daemon_runs() -> Result<()> {
    leaves_nothing("(flowgate)", Signal::INT)
}

#[test]
fn terminated_once_the_program_is_pinned() -> Result<()> {
    leaves_nothing("pins", Signal::TERM)
}

#[test]
fn what_a_killed_demo_leaves_is_removed_by_the_next() -> Result<()> {
    interrupt::install();
    let _alone = BEGINNING.write().unwrap_or_else(PoisonError::into_inner);
    let log = tempfile::NamedTempFile::new()?;
    let mut demo = demo(&log, "pins")?;
    let pid = pid(&demo);
    demo.kill()?;
    assert_ne!(marks::leftovers(pid), [""; 0]);
    marks::remove_of_the_dead();
    assert_eq!(marks::leftovers(pid), [""; 0]);
    Ok(())
}
