//! Tells programs of groups' new states: for clouds where an address moves by their API.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tokio::{process::Command, sync::mpsc, task::JoinHandle, time::timeout};
use tracing::warn;

use crate::vrrp::State;

/// A program that takes longer is killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one program is told.
pub(super) struct Notice {
    pub program: PathBuf,
    pub group: String,
    pub state: State,
    pub reason: String,
}

/// Runs the programs, one after the other: a state that came later is never told before an
/// earlier one.
pub(super) struct Notifier {
    notices: mpsc::UnboundedSender<Notice>,
    task: JoinHandle<()>,
}

impl Notifier {
    /// Nothing to tell yet.
    pub(super) fn start() -> Self {
        let (notices, mut waiting) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(notice) = waiting.recv().await {
                run(notice).await;
            }
        });
        Notifier { notices, task }
    }

    /// Has a program run as soon as those before have ended.
    pub(super) fn tell(&self, notice: Notice) {
        // The task ends only with this.
        let _ = self.notices.send(notice);
    }

    /// Waits until all has been told.
    pub(super) async fn finish(self) {
        drop(self.notices);
        let _ = self.task.await;
    }
}

/// Runs `PROGRAM GROUP STATE REASON`.
async fn run(notice: Notice) {
    let program = notice.program.display();
    let mut command = Command::new(&notice.program);
    command
        .args([&notice.group, &notice.state.to_string(), &notice.reason])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let outcome = match command.spawn() {
        Ok(mut child) => timeout(PATIENCE, child.wait()).await,
        Err(error) => return warn!("can't run {program}: {error}; is it there, and executable?"),
    };
    match outcome {
        Err(_) => warn!("{program} took longer than {PATIENCE:?} and was killed"),
        Ok(Err(error)) => warn!("{program}: {error}"),
        Ok(Ok(status)) if !status.success() => warn!("{program} failed: {status}"),
        Ok(Ok(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told to a program arrives in the order of the states, also if an earlier run
    /// takes longer; one that can't be run keeps nobody else from being told.
    #[tokio::test]
    async fn states_are_told_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let (program, told) = (dir.path().join("notify"), dir.path().join("told"));
        let script = format!(
            "#!/bin/sh\n[ $2 = standby ] && while [ ! -e {0}.go ]; do :; done\necho \"$1|$2|$3\" >> {0}\n",
            told.display()
        );
        // Another process writes it: what this one has open for writing, a child that another test
        // is starting has too for a moment, and then it can't be run.
        let draft = dir.path().join("draft");
        std::fs::write(&draft, script).unwrap();
        let mut install = std::process::Command::new("install");
        let installed = install.args(["-m", "755"]).args([&draft, &program]);
        assert!(installed.status().unwrap().success());
        let notifier = Notifier::start();
        let notice = |program: &std::path::Path, state, reason: &str| Notice {
            program: program.to_owned(),
            group: "site".to_owned(),
            state,
            reason: reason.to_owned(),
        };
        notifier.tell(notice(&program, State::Standby, "started"));
        notifier.tell(notice(&dir.path().join("missing"), State::Active, "x"));
        notifier.tell(notice(&program, State::Active, "nobody else; is"));
        std::fs::write(dir.path().join("told.go"), "").unwrap();
        notifier.finish().await;
        let told = std::fs::read_to_string(told).unwrap();
        assert_eq!(told, "site|standby|started\nsite|active|nobody else; is\n");
    }
}
