//! `flowgate`: the daemon and the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowgate::cli::main(flowgate::daemon::run, flowgate::daemon::unload)
}
