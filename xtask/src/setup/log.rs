//! The steps of a set-up: a line each on the screen, everything else in a file.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::root;

/// The log of one set-up.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Starts a new one, over that of the last set-up.
    pub fn create() -> Result<Self> {
        let folder = root().join("target");
        let path = folder.join("setup.log");
        std::fs::create_dir_all(&folder)
            .and_then(|()| File::create(&path))
            .map(|file| Self {
                path: path.clone(),
                file,
            })
            .with_context(|| format!("couldn't write {}", path.display()))
    }

    /// Where to read on, for an error's text.
    pub fn where_it_is(&self) -> String {
        format!("the whole output is in {}", self.path.display())
    }

    /// Runs one step; what it prints goes to the file, its name and how long it
    /// took to the screen. A failure shows the end of what it printed.
    pub fn run(&mut self, step: &str, command: &mut Command) -> Result<()> {
        writeln!(self.file, "== {step}: {command:?}")?;
        let begin = std::fs::metadata(&self.path)?.len();
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(self.file.try_clone()?)
            .stderr(self.file.try_clone()?)
            .spawn()
            .with_context(|| format!("{step}: couldn't start {:?}", command.get_program()))?;
        let progress = Progress::new(step);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            progress.show(started);
            sleep(Duration::from_millis(200));
        };
        progress.finish(started);
        if status.success() {
            return Ok(());
        }
        let all = std::fs::read(&self.path)?;
        let tail = tail(&all[usize::try_from(begin)?.min(all.len())..]);
        bail!("{step} failed ({status}):\n{tail}\n{}", self.where_it_is())
    }
}

/// The last lines, which say what went wrong.
fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// One line of progress: counting seconds in a terminal, elsewhere one line at
/// the start and one at the end.
struct Progress<'a> {
    step: &'a str,
    terminal: bool,
}

impl<'a> Progress<'a> {
    fn new(step: &'a str) -> Self {
        let terminal = std::io::stdout().is_terminal();
        if !terminal {
            println!("  {step} …");
        }
        Self { step, terminal }
    }

    fn show(&self, started: Instant) {
        if self.terminal {
            print!("\r  {} … {} s", self.step, started.elapsed().as_secs());
            // A screen that can't be written to is no reason to stop.
            let _ = std::io::stdout().flush();
        }
    }

    fn finish(&self, started: Instant) {
        let begin = if self.terminal { "\r" } else { "" };
        println!("{begin}  {} … {} s", self.step, started.elapsed().as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn a_tail_is_the_last_lines_whole() {
        let text: String = (0..40).map(|n| format!("line {n}\n")).collect();
        let tail = tail(text.as_bytes());
        assert!(
            tail.starts_with("line 25\n") && tail.ends_with("line 39"),
            "{tail}"
        );
    }
}
