//! One run of one guest.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::initramfs;
use super::job::{self, Step};
use super::kernel::Kernel;
use super::qemu::{Clock, Qemu};
use super::table::MODULES;
use super::transcript::{Line, Transcript};
use crate::run::root;

/// By then the guest must have found the host's files.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// Lines of the console that are shown when the guest fails: a panic's, all of them.
const LAST_LINES: usize = 60;
/// The guest says the next thing at once.
const BETWEEN_STEPS: Duration = Duration::from_secs(30);

/// What whoever started the guest is told while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// The kernel's release, its own idea of how long it took, and ours.
    Up {
        release: &'a str,
        seconds: f64,
        took: Duration,
    },
    /// A step begins.
    Begin,
    Output(&'a str),
    /// The guest's exit status.
    End {
        step: &'a Step,
        status: i32,
        took: Duration,
    },
}

/// What a guest is made of.
pub struct Guest<'a> {
    pub kernel: &'a Kernel,
    pub qemu: &'a Qemu,
    /// Where its files are put.
    pub cache: &'a Path,
    pub clock: Clock,
}

impl Guest<'_> {
    /// Boots it and has it do all steps, whether or not they fail. Fails when the guest
    /// doesn't get to its end: it hangs, panics, or can't boot.
    pub fn run(&self, steps: &[Step], mut tell: impl FnMut(Event<'_>)) -> Result<()> {
        let token = fs::read_to_string("/proc/sys/kernel/random/uuid")
            .context("the kernel gives no random token")?;
        let token = token.trim_end();
        let modules = self.kernel.modules();
        let script = job::script(token, root(), &modules, MODULES, steps);
        let initramfs = self.file("cpio");
        initramfs::pack(self.kernel, &script, &initramfs)?;
        let mut machine = self.boot(&initramfs)?;
        follow(token, steps, &machine.lines, &mut tell).map_err(|what| {
            machine.stop();
            anyhow!("{what}\n{}", self.last_seen())
        })
    }

    fn boot(&self, initramfs: &Path) -> Result<Machine> {
        let errors = self.file("qemu.log");
        let errors = File::create(&errors)
            .with_context(|| format!("couldn't write {}", errors.display()))?;
        let mut child = self
            .qemu
            .boot(
                &self.kernel.image(),
                initramfs,
                &self.file("console.log"),
                self.clock,
            )
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .context("couldn't start QEMU")?;
        let output = child.stdout.take().expect("it is piped");
        let lines = read_lines(output);
        Ok(Machine { child, lines })
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.cache
            .join(format!("{}.{extension}", self.kernel.release))
    }

    /// The last lines of the console and of QEMU.
    fn last_seen(&self) -> String {
        let mut seen = String::new();
        for (whose, extension) in [("The console", "console.log"), ("QEMU", "qemu.log")] {
            let path = self.file(extension);
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            if last.is_empty() {
                continue;
            }
            seen += &format!("{whose} said last ({}):\n", path.display());
            for line in last {
                seen += &format!("    {}\n", line.trim_end());
            }
        }
        seen
    }
}

/// A running emulator; it ends with this.
struct Machine {
    child: Child,
    lines: Receiver<String>,
}

impl Machine {
    fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read_lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = channel();
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if to
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
            line.clear();
        }
    });
    lines
}

/// Follows the guest to its end, or to where it gets stuck.
fn follow(
    token: &str,
    steps: &[Step],
    lines: &Receiver<String>,
    tell: &mut impl FnMut(Event<'_>),
) -> Result<(), String> {
    let mut transcript = Transcript::new(token);
    let mut began = Instant::now();
    let mut deadline = began + BOOT_LIMIT;
    let mut up = false;
    loop {
        let doing = || match transcript.step() {
            Some(number) => format!("in \"{}\"", steps[number].title),
            None if up => "between two steps".to_owned(),
            None => "before it was up".to_owned(),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let line = match lines.recv_timeout(left) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                let seconds = began.elapsed().as_secs();
                return Err(format!("The guest hangs, {}, after {seconds} s.", doing()));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("The guest ended by itself, {}.", doing()));
            }
        };
        let took = began.elapsed();
        for line in transcript.read(&line) {
            match line {
                Line::Up { seconds, release } => {
                    up = true;
                    deadline = Instant::now() + BETWEEN_STEPS;
                    tell(Event::Up {
                        release: &release,
                        seconds,
                        took,
                    });
                }
                Line::Begin(number) => {
                    let step = &steps[number];
                    began = Instant::now();
                    deadline = began + step.limit;
                    tell(Event::Begin);
                }
                Line::End(number, status) => {
                    deadline = Instant::now() + BETWEEN_STEPS;
                    let step = &steps[number];
                    tell(Event::End { step, status, took });
                }
                Line::Done => return Ok(()),
                Line::Output(line) => tell(Event::Output(&line)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow_lines(lines: &str) -> (Result<(), String>, Vec<String>) {
        let (to, from) = channel();
        for line in lines.split_inclusive('\n') {
            to.send(line.to_owned()).expect("it is read later");
        }
        drop(to);
        let step = |title: &str| Step {
            title: title.to_owned(),
            command: Vec::new(),
            limit: Duration::from_secs(60),
            is_test: false,
        };
        let mut told = Vec::new();
        let result = follow("t", &[step("one"), step("two")], &from, &mut |event| {
            told.push(match event {
                Event::Up { release, .. } => format!("up {release}"),
                Event::Begin => "begin".to_owned(),
                Event::Output(line) => line.to_owned(),
                Event::End { step, status, .. } => format!("end {} {status}", step.title),
            });
        });
        (result, told)
    }

    #[test]
    fn a_guest_is_followed_to_its_end() {
        let said = "t up 4.2 6.1.0\nt begin 0\nhellot end 0 0\nt begin 1\nt end 1 3\nt done\n";
        let (result, told) = follow_lines(said);
        assert_eq!(result, Ok(()));
        let wanted = [
            "up 6.1.0",
            "begin",
            "hello",
            "end one 0",
            "begin",
            "end two 3",
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_guest_that_ends_early_names_the_step() {
        for (said, place) in [
            ("", "before it was up"),
            ("t up 1 6.1.0\n", "between two steps"),
            ("t up 1 6.1.0\nt begin 1\nnoise\n", "in \"two\""),
        ] {
            let error = follow_lines(said).0.expect_err("it didn't get to its end");
            assert!(error.contains(place), "{error}");
        }
    }
}
