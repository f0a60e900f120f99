//! A host: one network namespace.

use std::{
    fs::File,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_setaffinity};

use crate::marks;

/// A network namespace. On drop every process in it is killed and it is deleted.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: OwnedFd,
    /// The CPU of its programs, if they have one.
    cpu: Option<usize>,
}

impl Namespace {
    /// Makes a namespace for the host `host`, with `lo` up and IPv6 off (its
    /// duplicate address detection and router solicitations only disturb).
    pub fn new(host: &str) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "this needs root: it makes network namespaces and loads BPF programs"
        );
        let name = marks::unique(host);
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let path = PathBuf::from(marks::NETNS).join(&name);
        let opened = File::open(&path).with_context(|| format!("cannot open {}", path.display()));
        let handle = match opened {
            Ok(file) => OwnedFd::from(file),
            Err(error) => {
                marks::remove_namespace(&path);
                return Err(error);
            }
        };
        let namespace = Self {
            name,
            handle,
            cpu: None,
        };
        namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Turns IPv6 on, without what would only disturb.
    pub fn enable_ipv6(&self) -> Result<()> {
        for which in ["all", "default"] {
            for (key, value) in [
                ("accept_dad", "0"),
                ("accept_ra", "0"),
                ("router_solicitations", "0"),
                ("disable_ipv6", "0"),
            ] {
                self.sysctl(&format!("net.ipv6.conf.{which}.{key}"), value)?;
            }
        }
        Ok(())
    }

    /// From now on, commands that run in it run on that CPU. (What the kernel does with a
    /// packet it does where that was sent.)
    pub fn keep_to(&mut self, cpu: usize) {
        self.cpu = Some(cpu);
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(marks::NETNS).join(&self.name)
    }

    /// Runs `ip` commands in it, one a line, without the word `ip`.
    pub fn ip(&self, commands: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ip (package iproute2)")?;
        let mut input = child.stdin.take().context("ip has no stdin")?;
        input.write_all(commands.as_bytes())?;
        input.write_all(b"\n")?;
        drop(input);
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "ip in {}: {}\n{commands}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Sets a `net.…` parameter in it.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.run(|| {
            std::fs::write(&path, value).with_context(|| format!("cannot set {key} to {value}"))
        })
    }

    /// A command that will run in it. Only the network is the namespace's: the
    /// child sees the same files, `/sys/fs/bpf` included (`ip netns exec` would
    /// hide that).
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let handle = self.handle.try_clone()?;
        let mut command = Command::new(program);
        let cpu = self.cpu;
        let enter = move || {
            if let Some(cpu) = cpu {
                let mut set = CpuSet::new();
                set.set(cpu);
                sched_setaffinity(None, &set)?;
            }
            Ok(enter(&handle)?)
        };
        // SAFETY: the closure runs between fork and exec and makes system calls
        // only; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// Runs `work` on a thread inside the namespace and waits for it. Sockets
    /// that it opens stay in the namespace wherever they are used later.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(&self.handle).expect("the namespace can be entered");
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts `work` on a thread inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<thread::JoinHandle<T>> {
        let handle = self.handle.try_clone()?;
        Ok(thread::spawn(move || {
            enter(&handle).expect("the namespace can be entered");
            work()
        }))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        marks::remove_namespace(&self.path());
    }
}

fn enter(handle: &OwnedFd) -> rustix::io::Result<()> {
    move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
}

/// Runs a command to its end; fails with its error output unless it succeeds.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    ensure!(
        output.status.success(),
        "{name} failed ({}): {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
