//! Tells a program of a group's new state: for clouds where an address moves by their API.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, task::JoinHandle, time::timeout};
use tracing::warn;

use crate::vrrp::State;

/// A program that takes longer is killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `program GROUP STATE REASON`. The task ends with it.
pub(super) fn run(program: &Path, group: &str, state: State, reason: &str) -> JoinHandle<()> {
    let mut command = Command::new(program);
    command
        .args([group, &state.to_string(), reason])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let program = program.display().to_string();
    tokio::spawn(async move {
        let outcome = match command.spawn() {
            Ok(mut child) => timeout(PATIENCE, child.wait()).await,
            Err(error) => {
                return warn!("can't run {program}: {error}; is it there, and executable?");
            }
        };
        match outcome {
            Err(_) => warn!("{program} took longer than {PATIENCE:?} and was killed"),
            Ok(Err(error)) => warn!("{program}: {error}"),
            Ok(Ok(status)) if !status.success() => warn!("{program} failed: {status}"),
            Ok(Ok(_)) => {}
        }
    })
}
