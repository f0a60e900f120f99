//! `cargo xtask failover`: what each fault costs a pair of load balancers' clients.

mod report;
mod rounds;
mod row;
mod target;

use std::{fs::File, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use flowgate_tests::{
    interrupt, machine, marks,
    pair::{
        contender::Contender,
        fault::Fault,
        flowgate::{Pair, Scheduler},
        keepalived::{Keepalived, Timers},
        trial::Crowd,
        way::Way,
    },
};
use rustix::process::{Resource, getrlimit, setrlimit};

use report::Report;

/// Measures what faults of a pair of load balancers cost, in network namespaces (as root).
///
/// Two nodes share a VIP; clients talk through them; something happens to the active one.
/// Flowgate in its modes, beside keepalived with HAProxy, in turns. The exit status is 1 when
/// Flowgate misses a target, 2 if nothing could be measured, and 130 after Ctrl-C, which ends
/// it with what was measured until then.
#[derive(Parser)]
#[command(name = "flowgate-failover")]
struct Arguments {
    /// Also writes all trials to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Trials of each fault with each contender
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    trials: u32,
    /// Only contenders whose names contain each of these words, such as "flowgate maglev" or
    /// "keepalived". May be given several times
    #[arg(long, value_name = "WORDS")]
    contender: Vec<String>,
    /// Only this mode of Flowgate's; keepalived with HAProxy, which has but one, stays. May be
    /// given several times
    #[arg(long, value_enum)]
    mode: Vec<Mode>,
    /// Only this fault. May be given several times
    #[arg(long, value_name = "NAME", value_parser = fault)]
    fault: Vec<Fault>,
    /// Connections that stay
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    connections: u32,
    /// New connections per second beside them; each stays for five messages
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    newcomers: u32,
    /// Milliseconds between an echo and the connection's next message
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pause: u32,
    /// Milliseconds between Flowgate's advertisements
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=1_000))]
    interval: u32,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Mode {
    Dsr,
    Nat,
    FullNat,
}

impl Mode {
    fn way(self) -> Way {
        match self {
            Self::Dsr => Way::Dsr,
            Self::Nat => Way::Nat,
            Self::FullNat => Way::FullNat,
        }
    }
}

fn fault(name: &str) -> Result<Fault, String> {
    let found = Fault::ALL.into_iter().find(|fault| fault.name() == name);
    found.ok_or_else(|| {
        let names = Fault::ALL.map(Fault::name).join(", ");
        format!("the faults are {names}")
    })
}

impl Arguments {
    fn contenders(&self) -> Result<Vec<Box<dyn Contender>>> {
        let interval = Duration::from_millis(self.interval.into());
        let mut all: Vec<Box<dyn Contender>> = Vec::new();
        for mode in Mode::value_variants() {
            if !self.mode.is_empty() && !self.mode.contains(mode) {
                continue;
            }
            for scheduler in [Scheduler::RoundRobin, Scheduler::Maglev] {
                all.push(Box::new(Pair {
                    way: mode.way(),
                    scheduler,
                    interval,
                }));
            }
        }
        for timers in [Timers::Default, Timers::Fastest] {
            all.push(Box::new(Keepalived { timers }));
        }
        let names: Vec<String> = all.iter().map(|contender| contender.name()).collect();
        all.retain(|contender| self.names(&contender.name()));
        if all.is_empty() {
            bail!(
                "no contender's name contains {:?}; they are:\n  {}",
                self.contender.join(" / "),
                names.join("\n  ")
            );
        }
        Ok(all)
    }

    fn names(&self, name: &str) -> bool {
        let has_all = |words: &String| words.split_whitespace().all(|word| name.contains(word));
        self.contender.is_empty() || self.contender.iter().any(has_all)
    }

    fn faults(&self) -> Vec<Fault> {
        let wanted = |fault: &Fault| self.fault.is_empty() || self.fault.contains(fault);
        Fault::ALL.into_iter().filter(wanted).collect()
    }

    fn crowd(&self) -> Crowd {
        Crowd {
            staying: self.connections as usize,
            pause: Duration::from_millis(self.pause.into()),
            newcomers: Duration::from_secs(1) / self.newcomers,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    interrupt::install();
    marks::remove_of_the_dead();
    match run(&arguments) {
        _ if interrupt::check().is_err() => ExitCode::from(130),
        Ok(report) if report.missed() > 0 => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report> {
    let (contenders, faults) = (arguments.contenders()?, arguments.faults());
    // Now, rather than after hours of measuring.
    let json = arguments.json.as_ref().map(|path| {
        File::create(path)
            .with_context(|| format!("writing {}", path.display()))
            .map(|file| (path, file))
    });
    let json = json.transpose()?;
    open_many_files()?;
    let cpus = machine::cpus()?.len();
    let trials = arguments.trials as usize;
    let rows = rounds::all(&contenders, &faults, trials, arguments.crowd())?;
    let report = Report {
        kernel: machine::kernel(),
        cpu: machine::cpu(),
        cpus,
        connections: arguments.connections,
        newcomers_per_second: arguments.newcomers,
        pause_ms: arguments.pause,
        interval_ms: arguments.interval,
        targets: target::judge(&rows),
        rows,
    };
    report.print();
    if let Some((path, file)) = json {
        serde_json::to_writer_pretty(file, &report)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(report)
}

/// Each connection has two ends in this process.
fn open_many_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("asking for more open files")
}
