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
use lb_common::abi::{Identity, Pool};

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

/// What decides which code of a program the verifier looks at: what isn't asked for isn't
/// even there.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    /// One packet in so many is logged; 0 for none.
    sample: u32,
    /// Addresses of the `full-nat` pool, of either IP version.
    pool: (u16, u16),
}

const NONE: Shape = Shape {
    name: "plain",
    sample: 0,
    pool: (0, 0),
};
const ALL: Shape = Shape {
    name: "all",
    sample: 1_000,
    pool: (3, 2),
};
const SHAPES: [(&str, Shape); 7] = [
    (object::PROGRAM, NONE),
    (
        object::PROGRAM,
        Shape {
            name: "pool4",
            pool: (1, 0),
            ..NONE
        },
    ),
    (
        object::PROGRAM,
        Shape {
            name: "pool6",
            pool: (0, 1),
            ..NONE
        },
    ),
    (object::PROGRAM, ALL),
    (object::PROGRAM_FRAGS, NONE),
    (object::PROGRAM_FRAGS, ALL),
    ("tick", NONE),
];

/// Loads each program in the shapes that it may have, and prints its figures.
fn every_program() -> Result<()> {
    println!(
        "{:<14} {:<6} {:>12} {:>9} {:>9}",
        "program", "shape", "instructions", "xlated B", "jited B"
    );
    let mut heaviest = 0;
    for (name, shape) in SHAPES {
        let mut object = load(name, shape, VerifierLogLevel::STATS)?;
        let program = match object.program(name) {
            Ok(program) => program,
            Err(error) => bail!("{}, {error}\n{}", shape.name, why(name, shape)),
        };
        let info = program.info()?;
        let verified = info
            .verified_instruction_count()
            .context("this kernel doesn't tell its figures (5.16 and later do)")?;
        println!(
            "{name:<14} {:<6} {verified:>12} {:>9} {:>9}",
            shape.name,
            info.size_translated().unwrap_or_default(),
            info.size_jitted()
        );
        heaviest = heaviest.max(verified);
    }
    println!("The verifier gives up after {LIMIT} instructions; at most {MOST} keep a margin.");
    ensure!(
        heaviest <= MOST,
        "{heaviest} instructions leave too small a margin for other kernels' verifiers"
    );
    Ok(())
}

fn load(name: &str, shape: Shape, log: VerifierLogLevel) -> Result<Object> {
    let (v4, v6) = shape.pool;
    let pool = Pool {
        first_port: 1_024,
        buckets: 8_064,
        v4,
        v6,
    };
    let identity = Identity {
        pool: if v4 + v6 > 0 { pool } else { Pool::default() },
        ..object::new_identity(1 << 16, &Timeouts::default())?
    };
    let constants = Constants {
        identity,
        egress: 0,
        mac: [2, 0, 0, 0, 0, 1],
        sample: shape.sample,
        has_buffers: name == object::PROGRAM_FRAGS,
    };
    Ok(Object::load_logged(OBJECT, &constants, None, log)?)
}

/// The end of the verifier's way to the instruction that it refuses.
fn why(name: &str, shape: Shape) -> String {
    let said = load(
        name,
        shape,
        VerifierLogLevel::DEBUG | VerifierLogLevel::STATS,
    )
    .and_then(|mut object| Ok(object.program(name).map(drop)?))
    .map_or_else(|error| error.to_string(), |()| "it is taken now".to_owned());
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
