//! How much work the shipped programs are for this kernel's verifier (as root).
//!
//! Fails when the kernel refuses a program, or takes it with less margin than it should
//! have: another kernel's verifier may need more for the same program.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use aya::VerifierLogLevel;
use flowgate::{
    config::model::Timeouts,
    datapath::{
        Constants, Object,
        object::{self, OBJECT},
    },
};

/// Instructions that a verifier processes before it gives up
/// (`BPF_COMPLEXITY_LIMIT_INSNS`).
const LIMIT: u32 = 1_000_000;
/// What a program may use of them.
const MOST: u32 = LIMIT / 4 * 3;
/// Lines of the verifier's log that are shown of a refused program.
const LOG_LINES: usize = 60;

fn main() -> ExitCode {
    match every_program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Loads each program, and prints its figures. What logs packets isn't even in the
/// program unless one asks for it, so there are two of each.
fn every_program() -> Result<()> {
    println!(
        "{:<14} {:<8} {:>12} {:>9} {:>9}",
        "program", "sampling", "instructions", "xlated B", "jited B"
    );
    let mut heaviest = 0;
    let all = names(&load("", 0, VerifierLogLevel::STATS)?);
    for (sample, sampling) in [(0, "off"), (1_000, "on")] {
        for name in &all {
            // Of its own: the two kinds of programs can't share a device map.
            let mut object = load(name, sample, VerifierLogLevel::STATS)?;
            let program = match object.program(name) {
                Ok(program) => program,
                Err(error) => bail!("{error}\n{}", why(name, sample)),
            };
            let info = program.info()?;
            let verified = info
                .verified_instruction_count()
                .context("this kernel doesn't tell its figures (5.16 and later do)")?;
            println!(
                "{name:<14} {sampling:<8} {verified:>12} {:>9} {:>9}",
                info.size_translated().unwrap_or_default(),
                info.size_jitted()
            );
            heaviest = heaviest.max(verified);
        }
    }
    println!("The verifier gives up after {LIMIT} instructions; at most {MOST} keep a margin.");
    ensure!(
        heaviest <= MOST,
        "{heaviest} instructions leave too small a margin for other kernels' verifiers"
    );
    Ok(())
}

fn load(name: &str, sample: u32, log: VerifierLogLevel) -> Result<Object> {
    let constants = Constants {
        identity: object::new_identity(1 << 16, &Timeouts::default())?,
        egress: 0,
        mac: [2, 0, 0, 0, 0, 1],
        sample,
        has_buffers: name == object::PROGRAM_FRAGS,
    };
    Ok(Object::load_logged(OBJECT, &constants, None, log)?)
}

fn names(object: &Object) -> Vec<String> {
    let mut names: Vec<String> = object
        .ebpf
        .programs()
        .map(|(name, _)| name.to_owned())
        .collect();
    names.sort_unstable();
    names
}

/// The end of the verifier's way to the instruction that it refuses.
fn why(name: &str, sample: u32) -> String {
    let said = load(
        name,
        sample,
        VerifierLogLevel::DEBUG | VerifierLogLevel::STATS,
    )
    .and_then(|mut object| Ok(object.program(name).map(drop)?))
    .map_or_else(|error| error.to_string(), |()| "it is taken now".to_owned());
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
