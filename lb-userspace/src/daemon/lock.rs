//! One daemon for one run directory.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// The lock file's name; it holds the daemon's process number.
pub(super) const NAME: &str = "flowgate.lock";

/// Held until it is dropped, or the process ends however it may.
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// Takes the lock; makes the directory if need be.
    pub(super) fn take(run_dir: &Path) -> anyhow::Result<Self> {
        let shown = run_dir.display();
        fs::create_dir_all(run_dir).with_context(|| {
            format!("can't make {shown}; run with sudo, or give another --run-dir")
        })?;
        let path = run_dir.join(NAME);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| {
                format!(
                    "can't open {}; run with sudo, or give another --run-dir",
                    path.display()
                )
            })?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!(
                "a daemon (process {}) runs with {shown}; stop it first (`systemctl stop flowgate`), or give another --run-dir",
                holder.trim()
            );
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Lock(file))
    }
}
