//! `cargo xtask bench`: nanoseconds per packet, beside a kernel LRU hash in the place of
//! the flow table, and a bare "swap MACs, send back".

mod bed;
mod frame;
mod machine;
mod measure;
mod report;
mod scenario;
mod site;
#[path = "../../../../lb-ebpf/src/bench/traffic.rs"]
mod traffic;

use std::{fs::File, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;

use machine::Machine;
use report::{Memory, Report, Row};

/// Measures nanoseconds per packet with BPF_PROG_TEST_RUN (as root).
///
/// Every round runs each program in turn: a bare swap of the MAC addresses, the prologue
/// that writes the packet, the product's pipeline behind that prologue, and the same
/// pipeline with a kernel LRU hash. Figures are net of the prologue.
#[derive(Parser)]
#[command(name = "flowgate-bench")]
struct Arguments {
    /// Also writes the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds of each scenario that count
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Packets of each program in each round
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=50_000_000))]
    repeat: u32,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "FILTER", default_value = "")]
    scenario: String,
    /// Exits with status 1 when a target is missed
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) if arguments.check && !report.missed().is_empty() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report> {
    let mut scenarios = scenario::all();
    scenarios.retain(|scenario| scenario.name.contains(&arguments.scenario));
    if scenarios.is_empty() {
        let names: Vec<_> = scenario::all().iter().map(|s| s.name).collect();
        bail!(
            "no scenario's name contains {:?}; they are: {}",
            arguments.scenario,
            names.join("; ")
        );
    }
    // Now, rather than after minutes of measuring.
    let json = arguments.json.as_ref().map(|path| {
        File::create(path)
            .with_context(|| format!("writing {}", path.display()))
            .map(|file| (path, file))
    });
    let json = json.transpose()?;
    let pinned_to = machine::pin()?;
    let mut rows = Vec::new();
    let mut last = None;
    for scenario in &scenarios {
        eprintln!("Measuring: {}", scenario.name);
        let (bed, figures) = measure::measure(scenario, arguments.rounds, arguments.repeat)?;
        rows.push(Row::new(scenario, &figures));
        last = Some(bed);
    }
    let mut bed = last.expect("there is a scenario");
    let report = Report {
        machine: Machine {
            kernel: machine::kernel(),
            cpu: machine::cpu(),
            pinned_to,
            jit: bed.is_compiled()?,
        },
        rounds: arguments.rounds,
        repeat: arguments.repeat,
        memory: Memory::new(bed.bytes_per_slot()?, bed.bytes_per_entry()?),
        noisy: report::is_noisy(&rows),
        rows,
    };
    report.print();
    if let Some((path, file)) = json {
        serde_json::to_writer_pretty(file, &report)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(report)
}
