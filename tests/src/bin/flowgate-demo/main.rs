//! Shows the product at work, and checks all that it shows.

mod screen;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use flowgate_tests::{claims, flowgate, interrupt, lab::Mode, marks, stage::Stage};
use screen::Screen;

/// Shows Flowgate at work in network namespaces on this machine, and checks what
/// it shows. Needs root. All that it makes is gone again afterwards, also after
/// Ctrl-C.
///
/// The exit status is 0 if every claim held, 1 if one did not, and 130 after
/// Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "flowgate-demo")]
struct Arguments {
    /// How packets reach the web servers
    #[arg(long, value_enum, default_value_t = Modes::Both)]
    mode: Modes,

    /// The binary to show [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    flowgate: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Modes {
    /// Direct server return
    Dsr,
    /// Network address translation
    Nat,
    /// One after the other
    Both,
}

impl Modes {
    fn list(self) -> &'static [Mode] {
        match self {
            Self::Dsr => &[Mode::Dsr],
            Self::Nat => &[Mode::Nat],
            Self::Both => &[Mode::Dsr, Mode::Nat],
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    interrupt::install();
    let mut screen = Screen::new();
    match demo(&arguments, &mut screen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) if interrupt::check().is_err() => {
            screen.interrupted(&marks::leftovers(std::process::id()));
            ExitCode::from(130)
        }
        Err(error) => {
            screen.broken(&error);
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every claim held.
fn demo(arguments: &Arguments, screen: &mut Screen) -> Result<bool> {
    let binary = arguments
        .flowgate
        .clone()
        .map_or_else(flowgate::binary, Ok)?;
    for &mode in arguments.mode.list() {
        show(mode, &binary, screen)?;
    }
    Ok(screen.verdict(&marks::leftovers(std::process::id())))
}

fn show(mode: Mode, binary: &std::path::Path, screen: &mut Screen) -> Result<()> {
    screen.header(mode);
    let mut stage = Stage::build(mode, binary, &|step| screen.progress(step))?;
    screen.begin_claims();
    let mut all_held = true;
    for claim in claims::ALL {
        screen.checking(claim.title);
        let outcome = (claim.check)(&mut stage);
        interrupt::check()?;
        all_held &= screen.found(claim.title, &outcome);
    }
    if !all_held {
        screen.details(&stage.describe());
    }
    screen.progress("taking all of it down again");
    Ok(())
}
