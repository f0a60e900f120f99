//! `flowgate-fuzz`: what `cargo xtask fuzz` runs.

use std::{
    io::Write as _,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use flowgate_fuzz::{
    corpus::Fixture,
    fuzz::{Difference, Fuzz, ROUND},
    messages::{self, Taker},
    report,
};
use lb_common::verdict::Verdict;

/// From this many packets on, every verdict must have come.
const ENOUGH: u64 = 1_000_000;
/// What no test run can bring about: it always has room before the packet, and its maps
/// point to nothing that isn't there.
const NEVER: [Verdict; 2] = [Verdict::DropNoHeadroom, Verdict::DropInternal];

/// What is sent.
#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Packets, through the program and a model of it
    Packets,
    /// Advertisements of VRRP
    Vrrp,
    /// Datagrams of the replication of flows, to both sides
    Replication,
}

/// Sends random and mutated packets through the program and through a model of it, or messages to
/// what takes them.
#[derive(Parser)]
struct Arguments {
    /// What is sent
    #[arg(long, value_enum, default_value = "packets")]
    what: What,
    /// How many packets or messages
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// The same as in a run with this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Only what leads to this one of the run, and it
    #[arg(long)]
    at: Option<u64>,
    /// Goes on after this many differences
    #[arg(long, default_value_t = 0)]
    tolerate: u32,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64,
    };
    println!("seed {seed}");
    let stop = stop_on_signal();
    let taker = match arguments.what {
        What::Packets => return packets(arguments, seed, &stop),
        What::Vrrp => Taker::Vrrp,
        What::Replication => Taker::Replication,
    };
    messages::run(taker, seed, arguments.packets, arguments.at, &stop)
}

fn packets(arguments: &Arguments, seed: u64, stop: &AtomicBool) -> Result<bool> {
    let mut fuzz = Fuzz::new(seed)?;
    let range = match arguments.at {
        Some(at) => at - at % ROUND..at + 1,
        None => 0..arguments.packets,
    };
    let (started, first) = (Instant::now(), range.start);
    let (mut differences, mut sent, mut shown) = (0, 0, started);
    for index in range {
        if stop.load(Ordering::Relaxed) {
            println!("stopped");
            break;
        }
        if let Err(difference) = fuzz.step(index)? {
            println!("{}", report::report(&difference, seed));
            differences += 1;
            if differences > arguments.tolerate {
                let before = fuzz.reduced(&difference.packet)?;
                keep(&difference, before.as_deref(), seed)?;
                return Ok(false);
            }
        }
        sent = index - first + 1;
        if index.is_multiple_of(1_024) && shown.elapsed() > Duration::from_secs(5) {
            shown = Instant::now();
            let rate = sent as f64 / started.elapsed().as_secs_f64() / 1_000.0;
            println!("{sent} packets, {rate:.0} thousand a second");
            std::io::stdout().flush()?;
        }
    }
    for (verdict, count) in &fuzz.histogram {
        println!("{count:>10} {}", verdict.label());
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{sent} packets in {seconds:.1} s, {differences} differences, seed {seed}");
    if sent >= ENOUGH {
        let missing: Vec<&str> = Verdict::ALL
            .iter()
            .filter(|verdict| !fuzz.histogram.contains_key(verdict) && !NEVER.contains(verdict))
            .map(|verdict| verdict.label())
            .collect();
        if !missing.is_empty() {
            bail!("these verdicts never came: {}", missing.join(", "));
        }
    }
    Ok(differences == 0)
}

/// Writes a difference down as the beginning of a fixture.
fn keep(difference: &Difference, before: Option<&[Vec<u8>]>, seed: u64) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let folder = folder.canonicalize()?;
    let path = folder.join(format!("{seed}-{}.txt", difference.index));
    std::fs::write(&path, Fixture::skeleton(difference, before, seed))
        .with_context(|| path.display().to_string())?;
    println!("  kept in {}", path.display());
    Ok(())
}

/// Set once Ctrl-C was pressed: what was seen so far is still told.
fn stop_on_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        if let Ok(runtime) = runtime
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            flag.store(true, Ordering::Relaxed);
        }
    });
    stop
}
