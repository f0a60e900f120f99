//! The file system that keeps pinned programs and maps.

use std::process::Command;

use anyhow::{Context, Result};

use crate::run::run;

/// Where it belongs.
pub const FOLDER: &str = "/sys/fs/bpf";

/// Whether it is there.
pub fn is_mounted() -> Result<bool> {
    let mounts =
        std::fs::read_to_string("/proc/mounts").context("/proc/mounts says what is mounted")?;
    Ok(mounts.lines().any(is_bpffs))
}

fn is_bpffs(line: &str) -> bool {
    let mut fields = line.split(' ').skip(1);
    fields.next() == Some(FOLDER) && fields.next() == Some("bpf")
}

/// Mounts it, until the next boot; systemd mounts it by itself.
pub fn mount() -> Result<()> {
    run(Command::new("mount").args(["-t", "bpf", "bpf", FOLDER])).with_context(|| {
        format!("{FOLDER} can't be mounted: in a container, it has to come from the host")
    })?;
    println!("  mounted {FOLDER}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_bpffs;

    #[test]
    fn only_a_bpffs_in_its_place_counts() {
        assert!(is_bpffs("bpf /sys/fs/bpf bpf rw,nosuid,mode=700 0 0"));
        assert!(!is_bpffs("bpf /mnt/bpf bpf rw 0 0"));
        assert!(!is_bpffs("none /sys/fs/bpf tmpfs rw 0 0"));
    }
}
