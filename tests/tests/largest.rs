//! How long the largest configuration takes: as many services, backends and slots for flows
//! as there may be.

use std::{
    fmt::{self, Write as _},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use flowgate_tests::{
    bpffs::PinDir,
    flowgate::{self, Flowgate},
    interrupt,
    link::{End, cable},
    marks,
    netns::Namespace,
    process::Process,
    wait::eventually,
};
use rustix::process::Signal;

const SERVICES: u32 = 4_096;
const BACKENDS: u32 = 65_000;
/// Flows that the table is made for: it has twice as many slots, 64 Mi.
const FLOWS: u32 = 1 << 25;

/// What a start, a reload and a change take. Time on a CPU is what a start is judged by:
/// others may use the machine.
#[test]
#[ignore = "prints times, which mean something with a release build on a quiet machine"]
fn the_largest_configuration() -> Result<()> {
    interrupt::install();
    marks::remove_of_the_dead();
    for scheduler in ["round-robin", "maglev"] {
        measure(scheduler)?;
    }
    Ok(())
}

fn measure(scheduler: &str) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let pins = PinDir::new()?;
    let (lb, far) = (Namespace::new("lb")?, Namespace::new("far")?);
    cable(End::new(&lb, "front"), End::new(&far, "front"))?;
    // All backends behind one router, for the kernel has no room for so many neighbours.
    far.ip("addr add 192.168.0.2/24 dev front")?;
    lb.ip("addr add 192.168.0.1/24 dev front\nroute add 10.0.0.0/8 via 192.168.0.2")?;
    let text = largest(scheduler);
    let flowgate = Flowgate::installed(&flowgate::binary()?, scratch.path(), pins.path(), &text)?;
    println!("{scheduler}: {SERVICES} services, {BACKENDS} backends, {FLOWS} flows");

    let mut daemon = Daemon::start(&flowgate, &lb, scratch.path(), &pins)?;
    println!("  start: {}", daemon.took);
    let first = daemon.took.busy;
    let other = text.replace("\"10.0.1.0\"", "\"10.9.9.9\"");
    ensure!(other != text, "a backend has another address");
    fs::write(flowgate.configuration(), other)?;
    println!(
        "  reload, one backend changed: {}",
        daemon.asked(&flowgate, &["reload"])?
    );
    let drain = ["backend", "drain", "s7", "b7"];
    println!("  drain one backend: {}", daemon.asked(&flowgate, &drain)?);
    println!("  status: {}", daemon.asked(&flowgate, &["status"])?);
    println!("  flows: {}", daemon.asked(&flowgate, &["flows"])?);
    if scheduler == "round-robin" {
        let status = flowgate.said(&["status"])?;
        let memory = status.lines().skip_while(|line| !line.contains("MEMORY"));
        let memory = memory.take_while(|line| !line.is_empty());
        println!("{}", memory.collect::<Vec<_>>().join("\n"));
    }
    daemon.stop()?;

    let mut again = Daemon::start(&flowgate, &lb, scratch.path(), &pins)?;
    println!("  start on what is loaded: {}", again.took);
    again.stop()?;
    let limit = Duration::from_secs(2);
    let slowest = first.max(again.took.busy);
    ensure!(slowest < limit, "{slowest:?} on a CPU, more than {limit:?}");
    Ok(())
}

/// How long something took, and how much of that the daemon was on a CPU.
#[derive(Clone, Copy)]
struct Took {
    all: Duration,
    busy: Duration,
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?} of it on a CPU", self.all, self.busy)
    }
}

struct Daemon {
    process: Process,
    /// What its start took.
    took: Took,
}

impl Daemon {
    /// Starts the daemon, and waits until it says that it is ready.
    fn start(flowgate: &Flowgate, lb: &Namespace, files: &Path, pins: &PinDir) -> Result<Self> {
        let (run_dir, log) = (files.join("run"), files.join("log"));
        let mut command = flowgate.run_command(lb, &run_dir, pins.path())?;
        command.env("RUST_LOG", "info");
        let _ = fs::remove_file(&log);
        let begun = Instant::now();
        let mut process = Process::start("flowgate run", command, &log, Signal::TERM)?;
        let took = eventually(Duration::from_secs(120), "flowgate is ready", || {
            let said = fs::read_to_string(&log)?;
            ensure!(process.ended()?.is_none(), "it ended: {said}");
            if !said.contains("ready") {
                return Ok(None);
            }
            Ok(Some(Took {
                all: begun.elapsed(),
                busy: busy(&process)?,
            }))
        })?;
        Ok(Daemon { process, took })
    }

    /// What the daemon needs to answer a command.
    fn asked(&self, flowgate: &Flowgate, arguments: &[&str]) -> Result<Took> {
        let (begun, before) = (Instant::now(), busy(&self.process)?);
        flowgate.said(arguments)?;
        Ok(Took {
            all: begun.elapsed(),
            busy: busy(&self.process)?.saturating_sub(before),
        })
    }

    fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(Duration::from_secs(30))?;
        Ok(())
    }
}

/// The time on a CPU that a process has had, in whole hundredths of a second
/// (proc_pid_stat(5)).
fn busy(process: &Process) -> Result<Duration> {
    let path = format!("/proc/{}/stat", process.pid().as_raw_nonzero());
    let text = fs::read_to_string(path)?;
    // The name before may contain anything but this.
    let (_, rest) = text.rsplit_once(") ").context("no name in stat")?;
    let times = rest.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = times.sum::<Result<u64, _>>()?;
    // USER_HZ is 100 wherever we run.
    Ok(Duration::from_millis(ticks * 10))
}

/// Services with a VIP each, and 15 or 16 backends each.
fn largest(scheduler: &str) -> String {
    let mut text = format!("[node]\ninterfaces = [\"front\"]\nmax_flows = {FLOWS}\n");
    for service in 0..SERVICES {
        let (high, low) = (service >> 8, service & 255);
        let _ = write!(
            text,
            "\n[[service]]\nname = \"s{service}\"\nvip = \"203.0.{high}.{low}\"\nport = 80\n\
             protocol = \"tcp\"\nscheduler = \"{scheduler}\"\n\
             forward = \"tunnel\"\nencapsulation = \"gue\"\ngue_port = 6080\n"
        );
        for backend in (service..BACKENDS).step_by(SERVICES as usize) {
            let [_, b, c, d] = (backend + 256).to_be_bytes();
            let _ = write!(
                text,
                "\n[[service.backend]]\nname = \"b{backend}\"\naddress = \"10.{b}.{c}.{d}\"\n"
            );
        }
    }
    text
}
