//! `cargo xtask vm bench`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::Machines;
use super::binaries::Binaries;
use super::figures::{self, Figure};
use super::guest::{Event, Guest};
use super::job::Step;
use super::kernel::Choice;
use super::qemu::Clock;
use super::table::{BENCHMARK, Program};
use crate::run::root;

/// Where the figures are kept.
const PAGE: &str = "docs/PERFORMANCE.md";

/// Counts the instructions that a packet takes
///
/// The benchmark runs in a guest whose clock counts instructions, so that its figures
/// repeat exactly, however busy this machine is. They are written to docs/PERFORMANCE.md.
#[derive(Args)]
pub struct Arguments {
    /// Which kernels to run
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Choice,
    /// Prints how the figures differ from those in docs/PERFORMANCE.md, and leaves these
    #[arg(long)]
    compare: bool,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    let binaries = Binaries::benchmark()?;
    let program = binaries.path(Program::Binary(BENCHMARK))?;
    let machines = Machines::prepare(arguments.kernel)?;
    let page = root().join(PAGE);
    for guest in machines.guests(Clock::Instructions) {
        let release = &guest.kernel.release;
        let measured = measure(&guest, program)?;
        let text = fs::read_to_string(&page)
            .with_context(|| format!("couldn't read {}", page.display()))?;
        let series = figures::series(release);
        println!("Linux {release}, instructions per packet:");
        if arguments.compare {
            let kept = figures::read(&text, &series).with_context(|| PAGE.to_owned())?;
            print!("{}", figures::compared(&kept, &measured));
        } else {
            let new =
                figures::replaced(&text, &series, &measured).with_context(|| PAGE.to_owned())?;
            fs::write(&page, new).with_context(|| format!("couldn't write {}", page.display()))?;
            print!("{}", figures::table(&measured));
            println!("These are in {PAGE} now.");
        }
    }
    Ok(())
}

fn measure(guest: &Guest<'_>, program: &str) -> Result<Vec<Figure>> {
    let mut status = None;
    let mut output = Vec::new();
    guest.run(&[step(program)], |event| match event {
        Event::Up { release, took, .. } => {
            eprintln!("Linux {release}, up after {:.1} s", took.as_secs_f64());
        }
        Event::Output(line) => {
            if !line.starts_with(['{', '}', ' ']) {
                eprintln!("  {line}");
            }
            output.push(line.to_owned());
        }
        Event::End { status: ended, .. } => status = Some(ended),
        Event::Begin => {}
    })?;
    if status != Some(0) {
        bail!(
            "the benchmark failed in the guest; it said:\n{}",
            output.join("\n")
        );
    }
    rows(&output)
}

/// One round is enough where all are the same. The report is the last that it prints.
fn step(program: &str) -> Step {
    let script = r#"out=$TMPDIR/bench.json
        "$0" --counted --rounds 1 --repeat 10000 --json "$out" >"$TMPDIR/bench.txt" && cat "$out""#;
    Step {
        title: "counting instructions".to_owned(),
        command: ["bash", "-c", script, program].map(str::to_owned).to_vec(),
        limit: Duration::from_secs(1_800),
        is_test: false,
    }
}

/// The rows of the report in what the benchmark printed.
fn rows(output: &[String]) -> Result<Vec<Figure>> {
    let start = output.iter().position(|line| line == "{");
    let start = start.context("the benchmark printed no report")?;
    let report: Value = serde_json::from_str(&output[start..].join("\n"))
        .context("the benchmark's report isn't whole")?;
    let rows = report["rows"]
        .as_array()
        .context("the report has no rows")?;
    rows.iter()
        .map(|row| {
            let name = row["scenario"].as_str();
            let count = row["ours"]["median"].as_f64();
            Ok(Figure {
                name: name.context("a row has no name")?.to_owned(),
                count: count.context("a row has no figure")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_found_in_what_is_printed() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let report =
            "Measuring: a\n{\n\"rows\": [{\"scenario\": \"a\", \"ours\": {\"median\": 1.5}}]\n}";
        let found = rows(&lines(report)).expect("there is one");
        assert_eq!((found[0].name.as_str(), found[0].count), ("a", 1.5));
        for bad in ["", "{\n", "{\n}", "{\n\"rows\": [{}]\n}"] {
            assert!(rows(&lines(bad)).is_err(), "{bad}");
        }
    }
}
