//! keepalived, as Debian has it.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat, open},
    process::Signal,
};

use super::bed::Bed;
use crate::{marks::processes_in, process::Process, wait::eventually};

const DEADLINE: Duration = Duration::from_secs(10);

/// What keepalived says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It listens.
    Backup,
    /// It has the VIPs.
    Master,
    /// It can't take part.
    Fault,
    /// It ends.
    Stopped,
}

/// A keepalived on a bed. On drop it is killed.
#[derive(Debug)]
pub struct Keepalived {
    folder: PathBuf,
    fifo: File,
    told: String,
    process: Option<Process>,
}

impl Keepalived {
    /// Prepares one; nothing runs yet.
    pub fn new(bed: &Bed) -> Result<Self> {
        let folder = bed.scratch().join("keepalived");
        fs::create_dir(&folder)?;
        let path = folder.join("notify");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Open for writing too, so that it never ends.
        let fifo = open(&path, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty())?;
        Ok(Self {
            folder,
            fifo: fifo.into(),
            told: String::new(),
            process: None,
        })
    }

    /// What it tells its states by.
    pub fn fifo(&self) -> String {
        self.folder.join("notify").display().to_string()
    }

    /// Starts it with a configuration, and waits until it has a state.
    pub fn start(&mut self, bed: &Bed, configuration: &str) -> Result<()> {
        let file = self.folder.join("keepalived.conf");
        fs::write(&file, configuration)?;
        let mut command = bed.theirs.command("keepalived")?;
        command
            .args(["--dont-fork", "--vrrp", "--log-console", "--log-detail"])
            .arg("--use-file")
            .arg(file)
            .arg("--pid")
            .arg(self.folder.join("pid"))
            .arg("--vrrp_pid")
            .arg(self.folder.join("vrrp.pid"));
        self.state()?;
        self.told.clear();
        let log = self.folder.join("log");
        let process = Process::start("keepalived", command, &log, Signal::KILL)
            .context("is Debian's package keepalived installed? `cargo xtask setup` does that")?;
        self.process = Some(process);
        eventually(DEADLINE, "keepalived begins", || {
            let process = self.process.as_mut().context("keepalived runs")?;
            let ended = process.ended()?;
            ensure!(ended.is_none(), "keepalived ended by itself: {ended:?}");
            self.state()
        })
        .map(drop)
    }

    /// What it last said that it is; `None`: nothing since it was started.
    pub fn state(&mut self) -> Result<Option<State>> {
        let mut buffer = [0; 4096];
        loop {
            match self.fifo.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self
                    .told
                    .push_str(&String::from_utf8_lossy(&buffer[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        // INSTANCE "site" MASTER 150
        let lines = self.told.lines().rev();
        let mut words = lines.filter_map(|line| line.split_whitespace().nth(2));
        Ok(words.find_map(|word| match word {
            "BACKUP" => Some(State::Backup),
            "MASTER" => Some(State::Master),
            "FAULT" => Some(State::Fault),
            "STOP" => Some(State::Stopped),
            _ => None,
        }))
    }

    /// Kills it with SIGKILL, and its child, which takes part in VRRP. Its kernel keeps the VIPs.
    pub fn kill(&mut self, bed: &Bed) -> Result<()> {
        self.process.take().context("keepalived runs")?.kill()?;
        eventually(DEADLINE, "keepalived's child ends", || {
            Ok(processes_in(&bed.theirs.path()).is_empty().then_some(()))
        })?;
        // Until someone has waited for the child, its number counts for a running keepalived's.
        Ok(fs::remove_file(self.folder.join("vrrp.pid"))?)
    }

    /// Sends it SIGTERM; doesn't wait for its end.
    pub fn stop(&mut self) -> Result<()> {
        let process = self.process.as_ref().context("keepalived runs")?;
        process.signal(Signal::TERM)
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> Result<()> {
        self.process
            .take()
            .context("keepalived runs")?
            .wait(DEADLINE)
            .map(drop)
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// The version of the one that is installed, such as `2.2.7`.
pub fn version() -> Result<String> {
    let output = Command::new("keepalived")
        .arg("--version")
        .output()
        .context("is Debian's package keepalived installed? `cargo xtask setup` does that")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = said
        .split_whitespace()
        .find_map(|word| word.strip_prefix('v'));
    Ok(version.context("keepalived told no version")?.to_owned())
}
