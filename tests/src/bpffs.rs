//! A place for the product's pins.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::{fs::statfs, mount};

use crate::marks;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// A path under the BPF file system for one product's pins; removed with what
/// is in it on drop. The directory itself is the product's to make.
#[derive(Debug)]
pub struct PinDir(PathBuf);

impl PinDir {
    /// Reserves a path, and mounts the BPF file system where the machine has not.
    pub fn new() -> Result<Self> {
        let root = Path::new(marks::BPFFS);
        let filesystem = statfs(root).with_context(|| format!("no {}", root.display()))?;
        if u64::try_from(filesystem.f_type) != Ok(BPF_FS_MAGIC) {
            mount::mount("bpf", root, "bpf", mount::MountFlags::empty(), None).with_context(
                || format!("cannot mount the BPF file system at {}", root.display()),
            )?;
        }
        Ok(Self(root.join(marks::unique("pins"))))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PinDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
