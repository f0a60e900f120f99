//! A real name server, and a real client of it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::{
    netns::{Namespace, run},
    process::Process,
    wait::{eventually, slowness},
};

/// The name whose text is the server's own.
const NAME: &str = "who.test";
/// For a start, also of a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// dnsmasq on one host.
#[derive(Debug)]
pub struct NameServer {
    _process: Process,
}

impl NameServer {
    /// Starts it, and waits until it answers.
    pub fn start(host: &Namespace, name: &str, scratch: &Path) -> Result<Self> {
        let mut command = host.command("dnsmasq")?;
        command.args(["--keep-in-foreground", "--conf-file=/dev/null"]);
        command.args(["--no-resolv", "--no-hosts", "--pid-file="]);
        command.args(["--user=root", "--group=root"]);
        command.args(["--log-facility=-", "--port=53"]);
        command.arg(format!("--txt-record={NAME},{name}"));
        let log = scratch.join(format!("dnsmasq-{name}.log"));
        let process = Process::start(
            "dnsmasq (package dnsmasq-base)",
            command,
            &log,
            Signal::KILL,
        )?;
        let mut server = Self { _process: process };
        eventually(SOON, &format!("dnsmasq on {name} answers"), || {
            if let Some(status) = server._process.ended()? {
                anyhow::bail!("dnsmasq ended ({status}): {}", server._process.log());
            }
            Ok(ask(host, Ipv4Addr::LOCALHOST.into()).ok())
        })?;
        Ok(server)
    }
}

/// Has dig ask a name server from `host`, once; returns the name of the server that
/// answered.
pub fn ask(host: &Namespace, server: IpAddr) -> Result<String> {
    let mut command = host.command("dig")?;
    command.arg(format!("@{server}"));
    command.args(["+short", "+tries=1"]);
    command.arg(format!("+timeout={}", 2 * slowness()));
    command.args(["TXT", NAME]);
    let said = run(&mut command).context("dig is in the package bind9-dnsutils")?;
    let name = said.trim().trim_matches('"');
    ensure!(!name.is_empty() && !name.contains(';'), "dig said {said:?}");
    Ok(name.to_owned())
}
