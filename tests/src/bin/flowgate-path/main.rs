//! `cargo xtask path`: packets per second from end to end, beside a bare XDP forwarder and
//! the kernel's own.

mod addresses;
mod bed;
mod forwarder;
mod frame;
mod load;
mod programs;
#[path = "../../../../lb-ebpf/src/bench/path/records.rs"]
mod records;
mod report;
mod rounds;
mod row;
mod target;
mod turn;

use std::{fs::File, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;
use flowgate_tests::{interrupt, machine, marks};

use report::{LeftOut, Machine, Report};
use rounds::{Effort, Setup};
use row::Row;

/// Measures packets per second from end to end, in network namespaces (as root).
///
/// A generator sends frames by live frames of BPF_PROG_TEST_RUN, a forwarder forwards
/// them, and a sink counts those that arrive as they should. Forwarders are measured in
/// turns, round after round: Flowgate in its modes, the barest XDP programs, the kernel's
/// ip_forward, and destination NAT by nftables. The exit status is 2 if that couldn't be
/// done, and 130 after Ctrl-C.
#[derive(Parser)]
#[command(name = "flowgate-path")]
struct Arguments {
    /// Also writes the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds of each row [default: 5]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    /// Milliseconds of each measurement [default: 200]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    time: Option<u32>,
    /// Only rows whose names contain each of these words, such as "dsr Maglev"; and the
    /// bare forwarders' rows that these are compared with. May be given several times
    #[arg(long, value_name = "WORDS")]
    scenario: Vec<String>,
    /// Uses so many CPUs at most
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    cpus: Option<u32>,
    /// Fewer and shorter rounds: 3 of 100 ms
    #[arg(long)]
    quick: bool,
    /// For a machine whose clock counts instructions: one round on one CPU, and only the
    /// rows of one flow, with small tables
    #[arg(long)]
    counted: bool,
    /// In a virtual machine, on the network cards that `cargo xtask vm` gives it, in the place
    /// of veth; by the wall clock
    #[arg(long, conflicts_with = "counted")]
    cards: bool,
    /// Exits with status 1 when a target is missed
    #[arg(long)]
    check: bool,
}

impl Arguments {
    fn effort(&self) -> Result<Effort> {
        let (rounds, time) = match (self.counted, self.quick) {
            (true, _) => (1, 100),
            (_, true) => (3, 100),
            _ => (5, 200),
        };
        let mut cpus = machine::cpus()?;
        let most = if self.counted { Some(1) } else { self.cpus };
        cpus.truncate(most.unwrap_or(2) as usize);
        Ok(Effort {
            rounds: self.rounds.unwrap_or(rounds) as usize,
            time: Duration::from_millis(self.time.unwrap_or(time).into()),
            cpus,
            cards: self.cards,
            room: if self.counted {
                forwarder::MANY
            } else {
                forwarder::MILLION
            },
        })
    }

    /// The forwarders that are here with the rows that are wanted of them, and those that
    /// aren't here.
    fn setups(&self, cpus: usize) -> Result<(Vec<Setup>, Vec<LeftOut>)> {
        let all: Vec<Setup> = forwarder::all()
            .into_iter()
            .map(|forwarder| Setup {
                rows: Row::of(&*forwarder, cpus, self.counted),
                forwarder,
            })
            .collect();
        let rows = || all.iter().flat_map(|setup| &setup.rows);
        let named: Vec<Row> = rows().filter(|row| self.names(row)).cloned().collect();
        if named.is_empty() {
            let names: Vec<String> = rows().map(Row::to_string).collect();
            bail!(
                "no row's name contains {:?}; they are:\n  {}",
                self.scenario.join(" / "),
                names.join("\n  ")
            );
        }
        // With what they are compared with.
        let alone: Vec<Row> = named.iter().map(Row::alone).collect();
        let wanted = |row: &Row| {
            let mut named = named.iter().chain(&alone);
            named.any(|one| one == row || one.is_beside(row))
        };
        let (mut setups, mut left_out) = (Vec::new(), Vec::new());
        for mut setup in all {
            setup.rows.retain(wanted);
            if setup.rows.is_empty() {
                continue;
            }
            match setup.forwarder.look() {
                Ok(()) => setups.push(setup),
                // Without that there would be nothing to compare.
                Err(error) if setup.forwarder.is_ours() => return Err(error),
                Err(error) => left_out.push(LeftOut {
                    forwarder: setup.forwarder.name(),
                    why: format!("{error:#}"),
                }),
            }
        }
        Ok((setups, left_out))
    }

    fn names(&self, row: &Row) -> bool {
        let name = row.to_string();
        let has_all = |words: &String| words.split_whitespace().all(|word| name.contains(word));
        self.scenario.is_empty() || self.scenario.iter().any(has_all)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    interrupt::install();
    marks::remove_of_the_dead();
    match run(&arguments) {
        Ok(report) if arguments.check && report.missed() > 0 => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(_) if interrupt::check().is_err() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report> {
    let effort = arguments.effort()?;
    let (setups, left_out) = arguments.setups(effort.cpus.len())?;
    // Now, rather than after minutes of measuring.
    let json = arguments.json.as_ref().map(|path| {
        File::create(path)
            .with_context(|| format!("writing {}", path.display()))
            .map(|file| (path, file))
    });
    let json = json.transpose()?;
    let measured = rounds::all(&setups, &effort, arguments.counted || arguments.cards)?;
    let report = Report {
        machine: Machine {
            kernel: machine::kernel(),
            cpu: machine::cpu(),
            cpus: effort.cpus.clone(),
        },
        rounds: effort.rounds,
        time_ms: effort.time.as_millis(),
        counted: arguments.counted,
        rows: measured.iter().map(report::Row::new).collect(),
        left_out,
        targets: target::judge(&measured),
        noisy: report::is_noisy(&measured),
    };
    report.print();
    if let Some((path, file)) = json {
        serde_json::to_writer_pretty(file, &report)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(report)
}
