//! Child processes that end with us.

use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, kill_process_group, set_parent_process_death_signal,
};

use crate::wait::eventually;

/// A running child, in a process group of its own: Ctrl-C in the terminal
/// reaches only us, and we end the children in order. On drop the whole group
/// is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it says is appended to the file `log`.
    ///
    /// `with_parent` is what it gets when the thread that calls this ends, even
    /// by SIGKILL of the whole process: call it from a thread that lives as long
    /// as the child should.
    pub fn start(
        name: &str,
        mut command: Command,
        log: &Path,
        with_parent: Signal,
    ) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let parent = getpid();
        let follow = move || {
            set_parent_process_death_signal(Some(with_parent))?;
            // The parent may have gone before it was set.
            if getppid() == Some(parent) {
                Ok(())
            } else {
                Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe))
            }
        };
        // SAFETY: the closure runs between fork and exec and makes two system
        // calls; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(follow) };
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id, which is also its group's.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it has said so far, with what earlier processes said to the same log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid(), signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Kills it and its children with SIGKILL, and waits for it.
    pub fn kill(&mut self) -> Result<()> {
        kill_process_group(self.pid(), Signal::KILL)
            .with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        eventually(deadline, &what, || self.ended())
    }

    /// Asks it to end with SIGTERM, waits, and returns how it ended.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(deadline)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A readable form of how a process ended.
pub fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
