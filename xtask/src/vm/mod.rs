//! `cargo xtask vm`: other kernels than this machine's.

mod bench;
mod binaries;
mod debian;
mod figures;
mod guest;
mod initramfs;
mod job;
mod kernel;
mod nic;
mod path;
mod progress;
mod qemu;
mod rate;
mod shell;
mod table;
mod test;
mod transcript;

use std::fs::{File, TryLockError};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::run::{is_root, root};
use crate::setup::log::Log;
use crate::setup::{self, Scope};
use guest::Guest;
use kernel::{Choice, Kernel};
use qemu::{Clock, Qemu};

/// Runs Flowgate's tests, and measures it, on other kernels, in an emulated machine (as root).
///
/// The kernels are Debian's stock 6.1 and 6.12. They are fetched and unpacked under
/// target/vm, once, and not installed; so is QEMU where there is none. The guest runs
/// on this machine's files, which it sees as they are and can't change: what it writes
/// stays in its memory. Its network cards lead to each other only.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Test(test::Arguments),
    Bench(bench::Arguments),
    Shell(shell::Arguments),
}

/// Runs the verb.
pub fn main(arguments: &Arguments) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the guest runs this machine's programs on x86-64 kernels, so it takes an x86-64");
    }
    if !is_root() {
        bail!(
            "the guest reads this machine's files as root would, which takes root: \
             run `cargo xtask vm` as root"
        );
    }
    setup::ensure(Scope::Vm)?;
    match &arguments.verb {
        Verb::Test(arguments) => test::main(arguments),
        Verb::Bench(arguments) => bench::main(arguments),
        Verb::Shell(arguments) => shell::main(arguments),
    }
}

/// QEMU and kernels, unpacked, and nobody else at them.
struct Machines {
    cache: PathBuf,
    qemu: Qemu,
    kernels: Vec<Kernel>,
    /// Held while these are used; the kernel lets go of it with the process.
    _lock: File,
}

impl Machines {
    fn prepare(choice: Choice) -> Result<Self> {
        let cache = root().join("target/vm");
        std::fs::create_dir_all(&cache)
            .with_context(|| format!("couldn't make {}", cache.display()))?;
        let path = cache.join("lock");
        let lock =
            File::create(&path).with_context(|| format!("couldn't write {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another `cargo xtask vm` runs here; wait until it is done")
            }
            Err(TryLockError::Error(error)) => return Err(error).context("couldn't take the lock"),
        }
        let mut log = Log::create()?;
        let qemu = Qemu::find(&cache, &mut log)?;
        let kernels = choice
            .series()
            .iter()
            .map(|prefix| Kernel::newest(&cache, prefix, &mut log))
            .collect::<Result<_>>()?;
        Ok(Self {
            cache,
            qemu,
            kernels,
            _lock: lock,
        })
    }

    fn guests(&self, clock: Clock) -> impl Iterator<Item = Guest<'_>> {
        self.kernels.iter().map(move |kernel| Guest {
            clock,
            kernel,
            qemu: &self.qemu,
            cache: &self.cache,
        })
    }
}
