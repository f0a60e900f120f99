//! `cargo xtask bench`: nanoseconds per packet, beside a kernel LRU hash in the place of
//! the flow table, and a bare "swap MACs, send back".

mod bed;
mod frame;
mod machine;
mod measure;
mod quiet;
mod report;
mod row;
mod scenario;
mod site;
mod target;
#[path = "../../../../lb-ebpf/src/bench/traffic.rs"]
mod traffic;

use std::{fs::File, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;
use flowgate_tests::{
    interrupt,
    machine::{cpu, kernel, pin},
};

use machine::Machine;
use measure::Effort;
use quiet::Quiet;
use report::{Judged, Report};
use scenario::Scenario;

/// Measures nanoseconds per packet with BPF_PROG_TEST_RUN (as root).
///
/// Every round runs each program in turn: a bare swap of the MAC addresses, the prologue
/// that writes the packet, the product's pipeline behind that prologue, and, in some rows,
/// the same pipeline with a kernel LRU hash. Figures are net of the prologue.
#[derive(Parser)]
#[command(name = "flowgate-bench")]
struct Arguments {
    /// Also writes the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds of each row that count [default: 9]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    /// Packets of each program in each round [default: 1000000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..=50_000_000))]
    repeat: Option<u32>,
    /// Only rows whose names contain each of these words, such as "IPv6 Maglev"
    #[arg(long, value_name = "WORDS", default_value = "")]
    scenario: String,
    /// Seconds that each row may wait until the machine has been quiet in so many rounds; after
    /// that the quietest count, and for ratios of rows all [default: 30; with --quick or --counted: 0]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    patience: Option<u64>,
    /// Fewer and shorter rounds, without patience: 3 of 100,000 packets
    #[arg(long)]
    quick: bool,
    /// For a machine whose clock counts instructions: leaves the reference out, and rows that
    /// differ from others by their cache misses; the others have tables for 65,536 flows
    #[arg(long)]
    counted: bool,
    /// Exits with status 1 when a target is missed
    #[arg(long)]
    check: bool,
}

impl Arguments {
    fn effort(&self) -> Effort {
        let (rounds, repeat, patience) = match (self.quick, self.counted) {
            (true, _) => (3, 100_000, 0),
            (false, false) => (9, 1_000_000, 30),
            // Nobody else is there.
            (false, true) => (9, 1_000_000, 0),
        };
        Effort {
            rounds: self.rounds.unwrap_or(rounds),
            repeat: self.repeat.unwrap_or(repeat),
            patience: Duration::from_secs(self.patience.unwrap_or(patience)),
            reference: !self.counted,
        }
    }

    fn rows(&self) -> Result<Vec<row::Row>> {
        let words: Vec<&str> = self.scenario.split_whitespace().collect();
        let mut rows = row::all();
        rows.retain(|row| {
            let name = row.to_string();
            words.iter().all(|word| name.contains(word)) && !(self.counted && row.is_of_caches())
        });
        if rows.is_empty() {
            let names: Vec<String> = row::all().iter().map(row::Row::to_string).collect();
            bail!(
                "no row's name contains {:?}; they are:\n  {}",
                words.join(" … "),
                names.join("\n  ")
            );
        }
        Ok(rows)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) if arguments.check && report.missed() > 0 => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report> {
    let (effort, all) = (arguments.effort(), arguments.rows()?);
    // Now, rather than after minutes of measuring.
    let json = arguments.json.as_ref().map(|path| {
        File::create(path)
            .with_context(|| format!("writing {}", path.display()))
            .map(|file| (path, file))
    });
    let json = json.transpose()?;
    let table = if arguments.counted {
        row::FEW
    } else {
        row::FLOWS
    };
    let pinned_to = pin()?;
    interrupt::install();
    let (mut measured, mut quiet, mut last) = (Vec::new(), Quiet::new(), None);
    // Instructions don't depend on when they are counted, nor what is compared on turns.
    let takes_turns = |row: &row::Row| row.takes_turns() && !arguments.counted;
    let groups = all.chunk_by(|one, other| takes_turns(one) && takes_turns(other));
    for (turn, group) in groups.enumerate() {
        for row in group {
            eprintln!("Measuring: {row}");
        }
        let scenarios = group.iter().map(|&row| Scenario::new(row, table));
        let mut scenarios: Vec<_> = scenarios.collect();
        let (bed, figures) =
            measure::measure(&mut scenarios, turn, effort, &mut quiet, last.take())?;
        measured.extend(group.iter().copied().zip(figures));
        last = Some(bed);
    }
    let rows: Vec<_> = measured
        .iter()
        .map(|(row, figures)| report::Row::new(*row, figures, quiet))
        .collect();
    let mut bed = last.expect("there is a row");
    let mut targets: Vec<Judged> = target::all()
        .iter()
        .filter_map(|target| Judged::new(target, &measured, quiet))
        .collect();
    let bytes = (bed.bytes_per_slot()?, bed.bytes_per_entry()?);
    targets.push(Judged::memory(bytes.0, bytes.1));
    let report = Report {
        machine: Machine {
            kernel: kernel(),
            cpu: cpu(),
            pinned_to,
            jit: bed.is_compiled()?,
        },
        rounds: effort.rounds,
        repeat: effort.repeat,
        noisy: report::is_noisy(&rows),
        rows,
        targets,
    };
    report.print();
    if let Some((path, file)) = json {
        serde_json::to_writer_pretty(file, &report)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(report)
}
