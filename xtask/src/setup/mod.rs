//! `cargo xtask setup`: works out what is missing, says so, and installs it.

mod apt;
mod bpffs;
mod linker;
pub mod log;
mod needs;

use anyhow::{Result, bail};
use clap::Args;

use crate::run::is_root;
use log::Log;
use needs::Needs;

/// Installs what is missing on this machine (Debian 12, as root).
///
/// Says first what that is and what it is for. Says "nothing missing" when
/// nothing is.
#[derive(Args)]
pub struct Arguments {
    /// Install nothing; the exit status is 1 when something is missing
    #[arg(long)]
    check: bool,
}

/// What the machine is to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Building the eBPF program and the binary.
    Build,
    /// That, and everything that the tests and the demo use.
    All,
    /// That, and everything that runs them on other kernels.
    Vm,
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    let needs = Needs::of_this_machine(Scope::All)?;
    if needs.is_empty() {
        println!("nothing missing");
        return Ok(());
    }
    if arguments.check {
        print!("{needs}");
        bail!("not set up; `cargo xtask setup`, as root, installs what is missing");
    }
    install(&needs, Scope::All)
}

/// Makes the machine ready, silently when it already is.
pub fn ensure(scope: Scope) -> Result<()> {
    let needs = Needs::of_this_machine(scope)?;
    if needs.is_empty() {
        return Ok(());
    }
    install(&needs, scope)
}

fn install(needs: &Needs, scope: Scope) -> Result<()> {
    print!("{needs}");
    if !needs.packages.is_empty() {
        apt::check_distribution()?;
    }
    if !is_root() {
        bail!("installing takes root: run `cargo xtask setup` as root");
    }
    let mut log = Log::create()?;
    apt::install(&needs.packages, &mut log)?;
    if needs.linker {
        linker::install(&mut log)?;
    }
    if needs.bpffs {
        bpffs::mount()?;
    }
    let left = Needs::of_this_machine(scope)?;
    if !left.is_empty() {
        print!("{left}");
        bail!(
            "installed, and yet this is still missing; {}",
            log.where_it_is()
        );
    }
    println!("This machine is set up.");
    Ok(())
}
