//! `cargo xtask vm shell`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::Machines;
use super::guest::Event;
use super::job::Step;
use super::kernel::Choice;
use super::qemu::Clock;

/// Runs one command in a guest, and shows what it prints and how it ends
///
/// It runs as root, in the workspace's folder, with the modules that the tests need
/// loaded. The exit status is 0 only if the command's was.
#[derive(Args)]
pub struct Arguments {
    /// Which kernel to run
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Choice,
    /// Seconds after which the command is held to hang
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// A program and its arguments; `bash -c '…'` for more than one
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    let machines = Machines::prepare(arguments.kernel)?;
    let mut failed = Vec::new();
    for guest in machines.guests(Clock::Time) {
        let load = Step {
            title: "loading modules".to_owned(),
            command: vec!["load_modules".to_owned()],
            limit: Duration::from_secs(120),
            is_test: false,
        };
        let command = Step {
            title: arguments.command.join(" "),
            command: arguments.command.clone(),
            limit: Duration::from_secs(arguments.limit),
            is_test: false,
        };
        guest.run(&[load, command], |event| match event {
            Event::Up { release, took, .. } => {
                eprintln!("Linux {release}, up after {:.1} s", took.as_secs_f64());
            }
            Event::Output(line) => println!("{line}"),
            Event::End { step, status, took } if status != 0 => {
                eprintln!(
                    "{}: exit status {status}, after {:.1} s",
                    step.title,
                    took.as_secs_f64()
                );
                failed.push(format!("{}: {status}", guest.kernel.release));
            }
            Event::Begin | Event::End { .. } => {}
        })?;
    }
    if !failed.is_empty() {
        bail!("the guest's exit status isn't 0 ({})", failed.join(", "));
    }
    Ok(())
}
