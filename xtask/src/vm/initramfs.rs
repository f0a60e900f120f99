//! The guest's first files: what finds the host's.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::kernel::Kernel;
use crate::run::{find_program, run};

/// Modules that it takes to find the host's files.
const MODULES: &[&str] = &["virtio_pci", "9pnet_virtio", "9p", "overlay"];

const FOLDERS: &[&str] = &[
    "bin", "dev", "guest", "lower", "modules", "proc", "root", "sys", "upper",
];

/// Packs one with this job, at `path`. What goes in stays beside it, in `path.d`.
pub fn pack(kernel: &Kernel, job: &str, path: &Path) -> Result<()> {
    let tree = path.with_extension("d");
    lay_out(kernel, job, &tree).with_context(|| format!("couldn't fill {}", tree.display()))?;
    let archive =
        File::create(path).with_context(|| format!("couldn't write {}", path.display()))?;
    run(Command::new("sh")
        .args(["-c", "find . | cpio --create --format=newc --quiet"])
        .current_dir(&tree)
        .stdin(Stdio::null())
        .stdout(archive))
}

fn lay_out(kernel: &Kernel, job: &str, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree)?;
    }
    for folder in FOLDERS {
        fs::create_dir_all(tree.join(folder))?;
    }
    let busybox = find_program("busybox").context("there is no busybox")?;
    fs::copy(busybox, tree.join("bin/busybox"))?;
    let init = tree.join("init");
    fs::write(&init, include_str!("init.sh"))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    fs::write(tree.join("guest/main.sh"), include_str!("guest.sh"))?;
    fs::write(tree.join("guest/job.sh"), job)?;
    let mut order = String::new();
    for file in kernel.module_files(MODULES)? {
        order.push_str(&copy_module(&file, &tree.join("modules"))?);
        order.push('\n');
    }
    fs::write(tree.join("modules/order"), order)?;
    Ok(())
}

/// Copies a module, unpacked, and tells its name.
fn copy_module(file: &Path, folder: &Path) -> Result<String> {
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("{} is no module", file.display()))?;
    let Some(unpacked) = name.strip_suffix(".xz") else {
        ensure!(
            name.ends_with(".ko"),
            "{name} is compressed in a way that isn't known here"
        );
        fs::copy(file, folder.join(name))?;
        return Ok(name.to_owned());
    };
    let status = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(file)
        .stdout(File::create(folder.join(unpacked))?)
        .status()
        .context("couldn't start xz")?;
    if !status.success() {
        bail!("xz couldn't unpack {} ({status})", file.display());
    }
    Ok(unpacked.to_owned())
}
