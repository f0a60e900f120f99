//! The mark that everything of ours in the system carries: `fg-PID-…`.
//!
//! Namespaces are marked by their name under `/run/netns`, pins by their
//! directory under `/sys/fs/bpf`, files by their directory in the temporary
//! directory, and processes by the namespace that they are in.

use std::{
    fs,
    os::linux::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Where `ip netns` looks for namespaces.
pub const NETNS: &str = "/run/netns";
/// Where BPF objects are pinned.
pub const BPFFS: &str = "/sys/fs/bpf";

/// A name that no other process, and nothing else in this one, uses.
pub fn unique(label: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}{number}-{label}", prefix(std::process::id()))
}

fn prefix(pid: u32) -> String {
    format!("fg-{pid}-")
}

/// Everything in the system that carries the mark of process `pid`.
pub fn leftovers(pid: u32) -> Vec<String> {
    let mut found = Vec::new();
    for namespace in marked(Path::new(NETNS), pid) {
        for process in processes_in(&namespace) {
            let name = fs::read_to_string(format!("/proc/{}/comm", process.as_raw_pid()))
                .unwrap_or_default();
            found.push(format!(
                "process {} ({})",
                process.as_raw_pid(),
                name.trim_end()
            ));
        }
        found.push(format!("namespace {}", namespace.display()));
    }
    for path in marked(Path::new(BPFFS), pid) {
        found.push(format!("pins {}", path.display()));
    }
    for path in marked(&std::env::temp_dir(), pid) {
        found.push(format!("files {}", path.display()));
    }
    found
}

/// Removes everything that carries the mark of process `pid`, as far as it can.
pub fn remove(pid: u32) {
    for namespace in marked(Path::new(NETNS), pid) {
        remove_namespace(&namespace);
    }
    for directory in marked(Path::new(BPFFS), pid)
        .into_iter()
        .chain(marked(&std::env::temp_dir(), pid))
    {
        let _ = fs::remove_dir_all(directory);
    }
}

/// Removes what processes that are gone have left behind.
pub fn remove_of_the_dead() {
    for directory in [
        Path::new(NETNS),
        Path::new(BPFFS),
        std::env::temp_dir().as_path(),
    ] {
        for path in entries(directory) {
            if let Some(pid) = owner(&path)
                && !Path::new(&format!("/proc/{pid}")).exists()
            {
                remove(pid);
            }
        }
    }
}

/// Kills every process in the namespace, then deletes it.
pub(crate) fn remove_namespace(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let processes = processes_in(path);
        if processes.is_empty() || Instant::now() > deadline {
            break;
        }
        for process in processes {
            let _ = kill_process(process, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    if let Some(name) = path.file_name() {
        let _ = Command::new("ip")
            .args(["netns", "delete"])
            .arg(name)
            .output();
    }
}

/// The processes whose network namespace is the one at `path`, without ourselves.
pub fn processes_in(path: &Path) -> Vec<Pid> {
    let Ok(namespace) = fs::metadata(path) else {
        return Vec::new();
    };
    let own = std::process::id();
    entries(Path::new("/proc"))
        .into_iter()
        .filter_map(|entry| entry.file_name()?.to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != own)
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|of| {
                of.st_ino() == namespace.st_ino() && of.st_dev() == namespace.st_dev()
            })
        })
        .filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
        .collect()
}

fn marked(directory: &Path, pid: u32) -> Vec<PathBuf> {
    entries(directory)
        .into_iter()
        .filter(|path| owner(path) == Some(pid))
        .collect()
}

fn owner(path: &Path) -> Option<u32> {
    let (pid, _) = path
        .file_name()?
        .to_str()?
        .strip_prefix("fg-")?
        .split_once('-')?;
    pid.parse().ok()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_owner() {
        let name = unique("client");
        assert_eq!(owner(Path::new(&name)), Some(std::process::id()));
        assert_ne!(name, unique("client"));
    }

    #[test]
    fn foreign_names_have_no_owner() {
        for name in ["fg", "fg-", "fg-x-client", "fgx-1-client", "client"] {
            assert_eq!(owner(Path::new(name)), None, "{name}");
        }
    }
}
