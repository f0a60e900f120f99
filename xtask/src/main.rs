//! What a person types after `cargo xtask`: a file a verb.

mod bench;
mod build;
mod demo;
mod failover;
mod fuzz;
mod interop;
mod lint;
mod path;
mod run;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets this machine up, and builds, tests, shows and measures Flowgate.
///
/// On a fresh Debian 12 machine, as root, `cargo xtask demo` and `cargo xtask
/// test` are all that it takes: each first installs what is missing, and says
/// what and why before it does.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Arguments),
    /// Builds the binary, target/release/flowgate
    ///
    /// Installs what is missing for that first. The binary carries the XDP
    /// program and needs no toolchain where it runs.
    Build,
    Test(test::Arguments),
    /// Checks formatting, lints and documentation; changes nothing
    Lint,
    Demo(demo::Arguments),
    Bench(bench::Arguments),
    Path(path::Arguments),
    Failover(failover::Arguments),
    Fuzz(fuzz::Arguments),
    Interop(interop::Arguments),
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::main(&arguments),
        Verb::Build => build::main(),
        Verb::Test(arguments) => test::main(&arguments),
        Verb::Lint => lint::main(),
        Verb::Demo(arguments) => demo::main(&arguments),
        Verb::Bench(arguments) => bench::main(&arguments),
        Verb::Path(arguments) => path::main(&arguments),
        Verb::Failover(arguments) => failover::main(&arguments),
        Verb::Fuzz(arguments) => fuzz::main(&arguments),
        Verb::Interop(arguments) => interop::main(&arguments),
        Verb::Vm(arguments) => vm::main(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
