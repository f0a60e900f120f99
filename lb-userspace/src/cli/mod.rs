//! The command line: what a person types, and what comes back.

mod args;
mod client;
mod flows;
mod screen;
mod table;
mod views;
mod vip;
mod watch;

use std::{io, process::ExitCode};

use clap::Parser;

use self::client::{Asker, Question};
pub use self::{
    args::{
        BackendName, BackendVerb, Cli, Command, DEFAULT_RUN_DIR, Output, RunArgs, ServiceVerb,
        UnloadArgs,
    },
    flows::{FlowsArgs, FlowsVerb},
    screen::Screen,
    vip::VipVerb,
};
use crate::{api::vip::FailoverAsk, config::ConfigErrors};

/// The socket's name in the run directory.
const SOCKET: &str = "flowgate.sock";

/// The daemon or the file said no.
const REFUSED: u8 = 1;
/// Nobody answers on the socket. (2 is clap's, for a command line that it
/// doesn't understand.)
const UNREACHABLE: u8 = 3;

/// Reads the command line and does what it says; `run` and `unload` are the
/// daemon's part.
pub fn main(
    run: impl FnOnce(RunArgs) -> anyhow::Result<()>,
    unload: impl FnOnce(UnloadArgs) -> anyhow::Result<()>,
) -> ExitCode {
    let screen = Screen {
        out: &mut io::stdout().lock(),
        err: &mut io::stderr(),
    };
    ExitCode::from(execute(Cli::parse(), screen, run, unload))
}

/// Does what a command line says; returns the exit status.
pub fn execute(
    cli: Cli,
    mut screen: Screen<'_>,
    run: impl FnOnce(RunArgs) -> anyhow::Result<()>,
    unload: impl FnOnce(UnloadArgs) -> anyhow::Result<()>,
) -> u8 {
    let Cli {
        socket,
        output,
        command,
    } = cli;
    let question = match command {
        Command::Run(mut args) => {
            args.socket = socket.unwrap_or_else(|| args.run_dir.join(SOCKET));
            return finish(run(args), output, screen);
        }
        Command::Unload(args) => return finish(unload(args), output, screen),
        Command::Check { file } => return client::check(&mut screen, output, &file),
        Command::Status => Question::Status,
        Command::Stats => Question::Stats,
        Command::Service(ServiceVerb::List) => Question::Services,
        Command::Backend(verb) => verb.into(),
        Command::Vip(VipVerb::Status) => Question::Vip,
        Command::Vip(VipVerb::Failover { group }) => Question::FailOver(FailoverAsk { group }),
        Command::Reload => Question::Reload,
        Command::Flows(args) => args.into(),
    };
    Asker { screen, output }.ask(socket, question)
}

fn finish(done: anyhow::Result<()>, output: Output, mut screen: Screen<'_>) -> u8 {
    let Err(error) = done else { return 0 };
    match error.downcast_ref::<ConfigErrors>() {
        Some(errors) => screen.explain(output, errors),
        // `{:#}` shows the whole chain of causes.
        None => screen.complain(output, &format!("{error:#}"), ""),
    }
    REFUSED
}
