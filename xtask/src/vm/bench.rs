//! `cargo xtask vm bench`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::Machines;
use super::binaries::Binaries;
use super::figures::{self, Figure};
use super::guest::{Event, Guest};
use super::job::Step;
use super::kernel::Choice;
use super::path;
use super::qemu::Clock;
use super::rate;
use super::table::{BENCHMARK, PATH, Program};
use crate::run::root;

/// Where the figures are kept.
const PAGE: &str = "docs/PERFORMANCE.md";

/// Counts the instructions that a packet takes
///
/// The benchmark runs in a guest whose clock counts instructions, so that its figures
/// repeat exactly, however busy this machine is: what the program takes for a packet, and
/// what a packet's whole way takes, from a generator to a sink, through Flowgate, IPVS and
/// others. They are written to docs/PERFORMANCE.md.
#[derive(Args)]
pub struct Arguments {
    /// Which kernels to run
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Choice,
    /// What to measure
    #[arg(long, value_enum, default_value = "all")]
    part: Part,
    /// Prints how the figures differ from those in docs/PERFORMANCE.md, and leaves these
    #[arg(long)]
    compare: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What the program takes for a packet
    Program,
    /// What a packet takes on its whole way, beside other forwarders
    Path,
    /// How many packets pass in a second on virtio cards, where KVM runs guests
    Cards,
    /// All of them
    All,
}

impl Part {
    fn each(self) -> &'static [Part] {
        match self {
            Part::Program => &[Part::Program],
            Part::Path => &[Part::Path],
            Part::Cards => &[],
            Part::All => &[Part::Program, Part::Path],
        }
    }

    /// What its figures are of, in words and on the page.
    fn name(self) -> &'static str {
        match self {
            Part::Path => "whole path",
            _ => "instructions",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Part::Path => PATH,
            _ => BENCHMARK,
        }
    }

    /// One round is enough where all are the same. The report is the last that is printed.
    fn step(self, program: &str) -> Step {
        let options = match self {
            Part::Path => format!(
                "--counted --scenario '{}'",
                path::SCENARIOS.join("' --scenario '")
            ),
            _ => "--counted --rounds 1 --repeat 10000".to_owned(),
        };
        let script = format!(
            r#"out=$TMPDIR/report.json
            "$0" {options} --json "$out" >"$TMPDIR/report.txt" && cat "$out""#
        );
        Step {
            title: format!("counting: {}", self.name()),
            command: ["bash", "-c", &script, program].map(str::to_owned).to_vec(),
            limit: Duration::from_secs(1_800),
            is_test: false,
        }
    }

    fn figures(self, report: &Value) -> Result<Vec<Figure>> {
        match self {
            Part::Path => path::rows(report),
            _ => rows(report),
        }
    }

    fn table(self, figures: &[Figure]) -> Result<String> {
        match self {
            Part::Path => path::tables(figures),
            _ => Ok(figures::table(figures)),
        }
    }
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    let binaries = Binaries::benchmarks()?;
    let machines = Machines::prepare(arguments.kernel)?;
    let parts = arguments.part.each();
    if !parts.is_empty() {
        count(&machines, &binaries, parts, arguments.compare)?;
    }
    match arguments.part {
        Part::Cards => rate::measure(&machines, &binaries, true),
        Part::All => rate::measure(&machines, &binaries, false),
        Part::Program | Part::Path => Ok(()),
    }
}

/// Counts instructions on each kernel, and writes the figures to the page or compares them
/// with those there.
fn count(machines: &Machines, binaries: &Binaries, parts: &[Part], compare: bool) -> Result<()> {
    let page = root().join(PAGE);
    for guest in machines.guests(Clock::Instructions) {
        let release = &guest.kernel.release;
        for (part, measured) in measure(&guest, binaries, parts)? {
            let text = fs::read_to_string(&page)
                .with_context(|| format!("couldn't read {}", page.display()))?;
            let mark = format!("{} on {}", part.name(), figures::series(release));
            println!("Linux {release}, {}, per packet:", part.name());
            if compare {
                let kept = figures::read(&text, &mark).with_context(|| PAGE.to_owned())?;
                print!("{}", figures::compared(&kept, &measured));
            } else {
                let table = part.table(&measured)?;
                let new =
                    figures::replaced(&text, &mark, &table).with_context(|| PAGE.to_owned())?;
                fs::write(&page, new)
                    .with_context(|| format!("couldn't write {}", page.display()))?;
                print!("{table}");
                println!("These are in {PAGE} now.");
            }
        }
    }
    Ok(())
}

/// Has the guest measure each part, one after the other.
fn measure(
    guest: &Guest<'_>,
    binaries: &Binaries,
    parts: &[Part],
) -> Result<Vec<(Part, Vec<Figure>)>> {
    let mut steps = vec![Step {
        title: "loading modules".to_owned(),
        command: vec!["load_modules".to_owned()],
        limit: Duration::from_secs(120),
        is_test: false,
    }];
    for part in parts {
        let program = binaries.path(Program::Binary(part.program()))?;
        steps.push(part.step(program));
    }
    let (mut outputs, mut failed) = (Vec::new(), Vec::new());
    guest.run(&steps, |event| match event {
        Event::Up { release, took, .. } => {
            eprintln!("Linux {release}, up after {:.1} s", took.as_secs_f64());
        }
        Event::Begin => outputs.push(Vec::new()),
        Event::Output(line) => {
            if !line.starts_with(['{', '}', ' ']) {
                eprintln!("  {line}");
            }
            // The guest's first words belong to no step.
            if let Some(output) = outputs.last_mut() {
                output.push(line.to_owned());
            }
        }
        Event::End { step, status, .. } if status != 0 => failed.push(step.title.clone()),
        Event::End { .. } => {}
    })?;
    if !failed.is_empty() {
        bail!(
            "the guest failed at {}; it said:\n{}",
            failed.join(", "),
            outputs.concat().join("\n")
        );
    }
    parts
        .iter()
        .zip(&outputs[1..])
        .map(|(&part, output)| Ok((part, part.figures(&report(output)?)?)))
        .collect()
}

/// The report in what was printed.
fn report(output: &[String]) -> Result<Value> {
    let start = output.iter().position(|line| line == "{");
    let start = start.context("the benchmark printed no report")?;
    serde_json::from_str(&output[start..].join("\n")).context("the benchmark's report isn't whole")
}

/// The rows of the report on the program.
fn rows(report: &Value) -> Result<Vec<Figure>> {
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
        let found = rows(&super::report(&lines(report)).expect("there is one"));
        let found = found.expect("it is whole");
        assert_eq!((found[0].name.as_str(), found[0].count), ("a", 1.5));
        for bad in ["", "{\n", "{\n}", "{\n\"rows\": [{}]\n}"] {
            let found = super::report(&lines(bad)).and_then(|report| rows(&report));
            assert!(found.is_err(), "{bad}");
        }
    }
}
