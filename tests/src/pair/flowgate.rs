//! The product, on both nodes, with flows replicated.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::{
    bed::{Bed, GATEWAY, PORT, Side, VIP, WEBS, web_address},
    contender::{Contender, Running},
    way::Way,
};
use crate::{
    bpffs::PinDir,
    flowgate::{self, Flowgate},
    netns::Namespace,
    process::{Process, how},
};

/// The port that flows are replicated to.
const REPLICATION: u16 = 5151;
/// The pool's addresses, by their last byte in the back network: room for all connections
/// of a trial and those before it.
const POOL: std::ops::Range<u8> = 200..204;

/// How a connection gets its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// In turn: only the flow table knows the server of a connection.
    RoundRobin,
    /// By the connection's hash.
    Maglev,
}

impl Scheduler {
    /// Its name in the product's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Maglev => "maglev",
        }
    }
}

/// Two Flowgates.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// How packets reach the servers; not [`Way::Proxy`].
    pub way: Way,
    /// How connections get their servers.
    pub scheduler: Scheduler,
    /// How often the active node advertises, in whole milliseconds.
    pub interval: Duration,
}

impl Contender for Pair {
    fn name(&self) -> String {
        format!("flowgate {} {}", self.way.name(), self.scheduler.name())
    }

    fn way(&self) -> Way {
        self.way
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.interval * 3)
    }

    fn node<'a>(&self, bed: &'a Bed, side: Side) -> Result<Box<dyn Running + 'a>> {
        let folder = bed.scratch().join(side.name());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let key = folder.join("cluster.key");
        let digits: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
        fs::write(&key, digits)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let pins = PinDir::new()?;
        let text = self.configuration(side, &key.display().to_string());
        let flowgate = Flowgate::installed(&flowgate::binary()?, &folder, pins.path(), &text)?;
        Ok(Box::new(Node {
            host: &bed.node(side).host,
            flowgate,
            folder,
            daemon: None,
            pins,
        }))
    }
}

impl Pair {
    fn configuration(&self, side: Side, key: &str) -> String {
        let mut text =
            "[node]\ninterfaces = [\"front\", \"back\"]\nmax_flows = 131072\n".to_owned();
        if self.way == Way::FullNat {
            let pool = POOL
                .map(|last| format!("10.0.1.{last}"))
                .collect::<Vec<_>>();
            let _ = write!(text, "\n[full_nat]\naddresses = {pool:?}\n");
        }
        let priority = match side {
            Side::First => 150,
            Side::Second => 100,
        };
        let _ = write!(
            text,
            "\n[[vrrp]]\nname = \"site\"\ninterface = \"front\"\nvrid = 51\n\
             priority = {priority}\ninterval = \"{}ms\"\n",
            self.interval.as_millis()
        );
        if self.way == Way::Nat {
            let _ = writeln!(text, "gateways = [\"{GATEWAY}\"]");
        }
        let _ = write!(
            text,
            "\n[replication]\nkey_file = \"{key}\"\nlisten = \"{}:{REPLICATION}\"\n\
             peer = \"{}:{REPLICATION}\"\n",
            side.front(),
            side.other().front()
        );
        for protocol in ["tcp", "udp"] {
            self.service(&mut text, protocol);
        }
        text
    }

    fn service(&self, text: &mut String, protocol: &str) {
        let _ = write!(
            text,
            "\n[[service]]\nname = \"echo-{protocol}\"\nvip = \"{VIP}\"\nport = {PORT}\n\
             protocol = \"{protocol}\"\nscheduler = \"{}\"\nforward = \"{}\"\n",
            self.scheduler.name(),
            self.way.name()
        );
        for number in 1..=WEBS {
            let _ = write!(
                text,
                "\n[[service.backend]]\nname = \"web{number}\"\naddress = \"{}\"\n",
                web_address(self.way, number)
            );
        }
    }
}

struct Node<'a> {
    host: &'a Namespace,
    flowgate: Flowgate,
    folder: PathBuf,
    // Before the pins: they would come back.
    daemon: Option<Process>,
    pins: PinDir,
}

impl Node<'_> {
    fn daemon(&mut self) -> Result<&mut Process> {
        self.daemon.as_mut().context("not started")
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.daemon()?.signal(signal)
    }
}

impl Running for Node<'_> {
    fn start(&mut self) -> Result<()> {
        let run = self.folder.join("run");
        let command = self
            .flowgate
            .run_command(self.host, &run, self.pins.path())?;
        let log = self.folder.join("flowgate.log");
        self.daemon = Some(Process::start("flowgate run", command, &log, Signal::KILL)?);
        Ok(())
    }

    fn is_ready(&mut self, active: bool) -> Result<bool> {
        if let Some(status) = self.daemon()?.ended()? {
            bail!("flowgate run ended by itself: {}", how(status));
        }
        // Until it listens.
        let Ok(status) = self.flowgate.json(&["vip", "status"]) else {
            return Ok(false);
        };
        let state = if active { "active" } else { "standby" };
        let in_state = status["groups"][0]["state"] == state;
        Ok(in_state && (active || status["replication"]["in_sync"] == true))
    }

    fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    fn stall(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    fn hand_over(&mut self) -> Result<()> {
        self.flowgate.said(&["vip", "failover"]).map(drop)
    }

    fn describe(&self) -> String {
        let log = self.flowgate.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        let status = self.flowgate.said(&["vip", "status"]);
        let status = status.unwrap_or_else(|error| format!("{error:#}"));
        format!("{last}\n{status}\n")
    }
}
