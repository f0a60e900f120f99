//! What a `build.rs` that embeds an eBPF program does.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use crate::toolchain::{TOOLCHAIN_VARIABLE, Toolchain};
use crate::{build, find};

/// Builds the program `bin` and puts it at `$OUT_DIR/<object>`, for the crate to
/// embed. To be called from a `build.rs`; `manifest_dir` is that crate's
/// folder, one level below the workspace's root.
///
/// What is missing, or what the compiler said, becomes an error of cargo's,
/// which makes cargo stop.
pub fn build_script(manifest_dir: &str, bin: &str, object: &str) {
    if let Err(error) = embed(manifest_dir, bin, object) {
        for line in error.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn embed(manifest_dir: &str, bin: &str, object: &str) -> Result<(), String> {
    let root = Path::new(manifest_dir)
        .parent()
        .ok_or_else(|| format!("{manifest_dir} lies in no workspace"))?;
    let out_dir: PathBuf = std::env::var_os("OUT_DIR")
        .ok_or("OUT_DIR is not set: this is for build scripts")?
        .into();
    watch_sources(root);
    let toolchain = find().map_err(|missing| missing.to_string())?;
    watch_tools(&toolchain);
    let built = build(&toolchain, root, &shared_target_dir(&out_dir, root), bin)
        .map_err(|error| error.to_string())?;
    let embedded = out_dir.join(object);
    std::fs::copy(&built, &embedded).map_err(|error| {
        format!(
            "couldn't copy {} to {}: {error}",
            built.display(),
            embedded.display()
        )
    })?;
    Ok(())
}

fn watch_sources(root: &Path) {
    for path in [
        "Cargo.toml",
        "Cargo.lock",
        "lb-common/Cargo.toml",
        "lb-common/src",
        "lb-ebpf/Cargo.toml",
        "lb-ebpf/src",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    println!("cargo::rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
}

fn watch_tools(toolchain: &Toolchain) {
    for tool in [&toolchain.rustc, &toolchain.linker] {
        println!("cargo::rerun-if-changed={}", tool.display());
    }
}

/// A folder below `ebpf` in the target folder that `out_dir` lies in (cargo tags that
/// folder), so that all profiles and all crates that embed a program share one build of it;
/// else in `out_dir` itself. Each workspace has one of its own: several may share a target
/// folder, and cargo would take the object of one for the other's.
fn shared_target_dir(out_dir: &Path, workspace_root: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    workspace_root.hash(&mut hasher);
    out_dir
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .unwrap_or(out_dir)
        .join("ebpf")
        .join(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkouts_that_share_a_target_folder_build_apart() {
        let target = std::env::temp_dir().join(format!("target-{}", std::process::id()));
        let out_dir = target.join("release/build/lb-userspace-0/out");
        std::fs::create_dir_all(&out_dir).unwrap();
        std::fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        let of = |root: &str| shared_target_dir(&out_dir, Path::new(root));
        let (one, other) = (of("/home/one/flowgate"), of("/home/other/flowgate"));
        std::fs::remove_dir_all(&target).unwrap();
        assert_ne!(one, other);
        assert_eq!(one.parent(), Some(target.join("ebpf").as_path()));
        assert_eq!(of("/home/one/flowgate").file_name(), one.file_name());
    }
}
