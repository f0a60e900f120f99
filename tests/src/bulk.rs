//! Bulk transfers by iperf3.

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{netns::Namespace, process::Process, wait::eventually};

/// Where iperf3 serves.
pub const PORT: u16 = 5201;
/// A transfer that takes longer has stopped.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server says.
const SERVER_LOG: &str = "iperf3-server.log";

/// What both ends may have under way, in bytes.
const WINDOW: u32 = 65_536;

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// Starts a server.
pub fn serve(host: &Namespace, scratch: &Path) -> Result<Process> {
    let mut command = host.command("iperf3")?;
    command.args(["--server", "--forceflush", "--port", &PORT.to_string()]);
    let log = scratch.join(SERVER_LOG);
    Process::start("iperf3 (package iperf3)", command, &log, Signal::KILL)
}

/// Transfers at least `bytes` between `host` and the server at `peer`.
pub fn transfer(
    host: &Namespace,
    peer: IpAddr,
    direction: Direction,
    bytes: u64,
    scratch: &Path,
) -> Result<()> {
    let log = scratch.join("iperf3-client.json");
    // One that still serves another says so, or resets the connection before that is read.
    eventually(PATIENCE, "iperf3's server is free", || {
        let said = std::fs::read_to_string(scratch.join(SERVER_LOG))?;
        let mut lines = said.lines().rev();
        let last = lines.find(|line| line.contains(char::is_alphabetic));
        Ok(last.filter(|line| line.contains("listening")).map(drop))
    })?;
    let _ = std::fs::remove_file(&log);
    let report = client(host, peer, direction, bytes, &log)?;
    if let Some(error) = report["error"].as_str() {
        bail!("{direction:?}: {error}");
    }
    let received = report["end"]["sum_received"]["bytes"].as_u64();
    let received = received.with_context(|| format!("no bytes in {report}"))?;
    // iperf3 ends when the last byte is written, and leaves out what is still on its
    // way: at most what fits into both ends' windows.
    let whole = received + 4 * u64::from(WINDOW) >= bytes;
    ensure!(whole, "{received} of {bytes} bytes arrived");
    Ok(())
}

fn client(
    host: &Namespace,
    peer: IpAddr,
    direction: Direction,
    bytes: u64,
    log: &Path,
) -> Result<Value> {
    let mut command = host.command("iperf3")?;
    command.args(["--client", &peer.to_string(), "--json"]);
    command.args(["--port", &PORT.to_string()]);
    command.args(["--bytes", &bytes.to_string()]);
    command.args(["--window", &WINDOW.to_string()]);
    command.args(["--connect-timeout", "5000"]);
    if direction == Direction::Down {
        command.arg("--reverse");
    }
    let mut process = Process::start("iperf3 (package iperf3)", command, log, Signal::KILL)?;
    process
        .wait(PATIENCE)
        .with_context(|| format!("{direction:?}: {}", process.log()))?;
    let said = process.log();
    serde_json::from_str(&said).with_context(|| format!("iperf3 said no JSON: {said}"))
}
