//! `cargo xtask vm test`.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use super::Machines;
use super::binaries::Binaries;
use super::job::Step;
use super::kernel::Choice;
use super::nic;
use super::progress::Progress;
use super::qemu::Clock;
use super::table::{CARDS, Program, ROWS, VERIFIER};
use crate::run::run;

/// Tests the XDP program and the daemon on other kernels
///
/// On each: shows how much work the program is for the kernel's verifier, which has to
/// leave a margin; sends single packets through it; and has the daemon forward real
/// requests between network namespaces. The exit status is 0 only if all of it ran and
/// passed.
#[derive(Args)]
pub struct Arguments {
    /// Which kernels to run
    #[arg(long, value_enum, default_value = "all")]
    kernel: Choice,
    /// Run only the tests whose names contain this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    let filter = arguments.filter.as_deref();
    let binaries = Binaries::build()?;
    let machines = Machines::prepare(arguments.kernel)?;
    let started = Instant::now();
    let mut failures = Vec::new();
    println!("This machine's kernel:");
    if let Err(error) = run(&mut Command::new(binaries.path(Program::Binary(VERIFIER))?)) {
        failures.push(format!("this machine's kernel: {error:#}"));
    }
    for guest in machines.guests(Clock::Time) {
        println!("Linux {}, in QEMU:", guest.kernel.release);
        let steps = steps(&binaries, filter)?;
        let mut progress = Progress::new(filter.is_some());
        let ran = guest.run(&steps, |event| progress.see(event));
        let of_guest = progress.failures(&steps, ran);
        failures.extend(
            of_guest
                .into_iter()
                .map(|failure| format!("Linux {}: {failure}", guest.kernel.release)),
        );
    }
    let seconds = started.elapsed().as_secs();
    if !failures.is_empty() {
        bail!("failed, after {seconds} s:\n  {}", failures.join("\n  "));
    }
    println!(
        "Everything ran and passed on {} kernels besides this machine's, in {seconds} s.",
        machines.kernels.len()
    );
    Ok(())
}

/// What a guest is to do. With a filter, each test binary runs once, for all its tests
/// of that name.
fn steps(binaries: &Binaries, filter: Option<&str>) -> Result<Vec<Step>> {
    let mut steps = vec![Step {
        title: "loading modules".to_owned(),
        command: vec!["load_modules".to_owned()],
        limit: Duration::from_secs(120),
        is_test: false,
    }];
    for row in ROWS {
        if row.requires == CARDS && !nic::available() {
            println!("  {}: left out, {}", row.title, nic::MISSING);
            continue;
        }
        let mut command = Vec::new();
        if !row.requires.is_empty() {
            command.push("env".to_owned());
            command.push(format!("FLOWGATE_REQUIRE={}", row.requires));
        }
        command.push(binaries.path(row.program)?.to_owned());
        let mut is_test = false;
        if let Program::Tests(_, tests) = row.program {
            is_test = true;
            let tests = filter.unwrap_or(tests);
            if !tests.is_empty() {
                command.push(tests.to_owned());
            }
            if !row.requires.is_empty() {
                command.push("--include-ignored".to_owned());
            }
        }
        if steps.iter().any(|step| step.command == command) {
            continue;
        }
        steps.push(Step {
            title: row.title.to_owned(),
            command,
            limit: row.limit,
            is_test,
        });
    }
    Ok(steps)
}
