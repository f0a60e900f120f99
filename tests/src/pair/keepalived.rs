//! The usual pair: HAProxy, with keepalived for the VIP.
//!
//! Both are Debian's, configured as their manuals do. HAProxy listens at the VIP on both
//! nodes all the time (`ip_nonlocal_bind`). What kills or stalls a node's programs does so
//! to both; an orderly stop ends keepalived first, and HAProxy when that has ended.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    bed::{Bed, PORT, Side, VIP, WEBS, web_address},
    contender::{Contender, Running},
    way::Way,
};
use crate::{
    marks,
    netns::Namespace,
    process::{Process, how},
};

/// How long keepalived may take to end.
const DEADLINE: Duration = Duration::from_secs(5);

/// How often keepalived advertises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timers {
    /// As it does when nobody tells it: VRRP version 2, each second.
    Default,
    /// As often as it can: version 3, each 10 ms, with real-time priority.
    Fastest,
}

/// HAProxy and keepalived.
#[derive(Debug, Clone, Copy)]
pub struct Keepalived {
    /// How often keepalived advertises.
    pub timers: Timers,
}

impl Contender for Keepalived {
    fn name(&self) -> String {
        let timers = match self.timers {
            Timers::Default => "default timers",
            Timers::Fastest => "fastest",
        };
        format!("keepalived+haproxy, {timers}")
    }

    fn way(&self) -> Way {
        Way::Proxy
    }

    fn lease(&self) -> Option<Duration> {
        None
    }

    fn node<'a>(&self, bed: &'a Bed, side: Side) -> Result<Box<dyn Running + 'a>> {
        let folder = bed.scratch().join(side.name());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("haproxy.cfg"), haproxy())?;
        let node = Node {
            host: &bed.node(side).host,
            folder,
            side,
            timers: self.timers,
            programs: Vec::new(),
            processes: Vec::new(),
        };
        node.write_keepalived(node.priority())?;
        Ok(Box::new(node))
    }
}

struct Node<'a> {
    host: &'a Namespace,
    folder: PathBuf,
    side: Side,
    timers: Timers,
    /// HAProxy, then keepalived.
    programs: Vec<Process>,
    /// Their children's processes, then theirs, as they were when all was ready: looking for
    /// them takes longer than a fault may.
    processes: Vec<Pid>,
}

impl Node<'_> {
    fn priority(&self) -> u8 {
        match self.side {
            Side::First => 150,
            Side::Second => 100,
        }
    }

    fn write_keepalived(&self, priority: u8) -> Result<()> {
        let text = keepalived(self.side, self.timers, priority);
        Ok(fs::write(self.folder.join("keepalived.conf"), text)?)
    }

    fn log(&self, program: &str) -> PathBuf {
        self.folder.join(format!("{program}.log"))
    }

    fn launch(&mut self, program: &'static str, arguments: &[&str]) -> Result<()> {
        let mut command = self.host.command(program)?;
        command.current_dir(&self.folder).args(arguments);
        let process = Process::start(program, command, &self.log(program), Signal::KILL)
            .with_context(|| format!("{program}: `cargo xtask setup` installs it"))?;
        self.programs.push(process);
        Ok(())
    }

    fn signal_all(&self, signal: Signal) -> Result<()> {
        let mut all = self.processes.iter();
        all.try_for_each(|pid| Ok(kill_process(*pid, signal)?))
    }

    /// Whether a program listens at the service's port, by /proc/net/tcp.
    fn listens(&self) -> bool {
        let table = self
            .host
            .run(|| fs::read_to_string("/proc/thread-self/net/tcp"));
        let [a, b, c, d] = VIP.octets();
        let at = format!(" {d:02X}{c:02X}{b:02X}{a:02X}:{PORT:04X} 00000000:0000 0A ");
        table.is_ok_and(|table| table.contains(&at))
    }
}

impl Running for Node<'_> {
    fn start(&mut self) -> Result<()> {
        self.launch("haproxy", &["-db", "-f", "haproxy.cfg"])?;
        self.launch(
            "keepalived",
            &[
                "--dont-fork",
                "--vrrp",
                "--log-console",
                "--log-detail",
                "--no-syslog",
                "--use-file=keepalived.conf",
                "--pid=keepalived.pid",
                "--vrrp_pid=vrrp.pid",
            ],
        )
    }

    fn is_ready(&mut self, active: bool) -> Result<bool> {
        for program in &mut self.programs {
            if let Some(status) = program.ended()? {
                bail!("a program ended by itself: {}", how(status));
            }
        }
        let log = fs::read_to_string(self.log("keepalived")).unwrap_or_default();
        let entered = log
            .lines()
            .rev()
            .find_map(|line| line.split("Entering ").nth(1));
        let state = if active { "MASTER" } else { "BACKUP" };
        let ready = self.listens() && entered.is_some_and(|entered| entered.starts_with(state));
        if ready {
            self.processes = marks::processes_in(&self.host.path());
            let is_parent = |pid: &Pid| self.programs.iter().any(|program| program.pid() == *pid);
            self.processes.sort_by_key(is_parent);
        }
        Ok(ready)
    }

    fn kill(&mut self) -> Result<()> {
        // keepalived's child is told to end in order when its parent dies: it mustn't come
        // to that. Children go first, for the kernel lets stopped ones run when their parent
        // dies and nobody is left who could.
        self.signal_all(Signal::STOP)?;
        self.signal_all(Signal::KILL)
    }

    fn stall(&mut self) -> Result<()> {
        self.signal_all(Signal::STOP)
    }

    fn stop(&mut self) -> Result<()> {
        let [haproxy, keepalived] = &mut self.programs[..] else {
            bail!("not started");
        };
        keepalived.stop(DEADLINE)?;
        // "Soft": it closes its listener, and itself when the last connection has ended.
        haproxy.signal(Signal::USR1)
    }

    fn hand_over(&mut self) -> Result<()> {
        self.write_keepalived(50)?;
        let keepalived = self.programs.last().context("not started")?;
        keepalived.signal(Signal::HUP)
    }

    fn describe(&self) -> String {
        let last = |program| {
            let log = fs::read_to_string(self.log(program)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(20)..].join("\n")
        };
        format!("{}\n{}\n", last("keepalived"), last("haproxy"))
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // Children too: they may be in groups of their own.
        for process in marks::processes_in(&self.host.path()) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

fn keepalived(side: Side, timers: Timers, priority: u8) -> String {
    let (global, instance) = match timers {
        Timers::Default => ("", "advert_int 1"),
        Timers::Fastest => (
            "vrrp_version 3\n    vrrp_rt_priority 50\n    vrrp_no_swap",
            "advert_int 0.01",
        ),
    };
    let state = match side {
        Side::First => "MASTER",
        Side::Second => "BACKUP",
    };
    format!(
        "global_defs {{\n    router_id {name}\n    {global}\n}}\n\
         vrrp_instance site {{\n    state {state}\n    interface front\n    \
         virtual_router_id 51\n    priority {priority}\n    {instance}\n    \
         virtual_ipaddress {{\n        {VIP}/32 dev front\n    }}\n}}\n",
        name = side.name(),
    )
}

fn haproxy() -> String {
    let server = |number| {
        let at = web_address(Way::Proxy, number);
        format!("    server web{number} {at}:{PORT} check\n")
    };
    let servers: String = (1..=WEBS).map(server).collect();
    format!(
        "global\n    maxconn 4000\n\
         defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 60s\n    \
         timeout server 60s\n\
         listen service\n    bind {VIP}:{PORT}\n    balance roundrobin\n{servers}"
    )
}
