//! What outlives the daemon: files on the BPF file system.
//!
//! ```text
//! <pin-dir>/maps/NAME     the maps
//! <pin-dir>/links/IFNAME  the attachment of the program to each interface
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use lb_common::abi::{Identity, Pool, VERSION};

use super::{DatapathError, kernel_error, memory::Shared, object};

const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// The pin directory.
#[derive(Debug, Clone)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Opens, and makes if need be, the pin directory.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NoBpffs`] or [`DatapathError::Pin`].
    pub fn create(root: &Path) -> Result<Self, DatapathError> {
        let mut existing = root;
        while !existing.exists() {
            existing = existing.parent().unwrap_or(Path::new("/"));
        }
        let stat = rustix::fs::statfs(existing).map_err(|e| pin("reading", existing, e.into()))?;
        if stat.f_type as u64 != BPF_FS_MAGIC {
            return Err(DatapathError::NoBpffs {
                path: root.to_path_buf(),
            });
        }
        if root.to_string_lossy().contains('.') {
            return Err(DatapathError::Dotted {
                path: root.to_path_buf(),
            });
        }
        let pins = Pins {
            root: root.to_path_buf(),
        };
        for directory in [pins.maps(), pins.links()] {
            fs::create_dir_all(&directory).map_err(|e| match e.kind() {
                io::ErrorKind::PermissionDenied => {
                    DatapathError::NotPermitted(format!("creating {}: {e}", directory.display()))
                }
                _ => pin("creating", &directory, e),
            })?;
        }
        Ok(pins)
    }

    /// Where maps are pinned.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Where the link of an interface is pinned. A BPF file system takes no dots, which
    /// names of VLAN interfaces have; interfaces' names take no colons.
    #[must_use]
    pub fn link(&self, interface: &str) -> PathBuf {
        self.links().join(interface.replace('.', ":"))
    }

    /// What the pinned flow table was made with; `None` when there is none yet. What a
    /// first start left unfinished is removed.
    ///
    /// # Errors
    ///
    /// [`DatapathError::OtherVersion`], [`DatapathError::NotPermitted`] or
    /// [`DatapathError::Kernel`].
    pub fn identity(&self) -> Result<Option<Identity>, DatapathError> {
        let path = self.maps().join("IDENTITY");
        if !path.exists() {
            remove_children(&self.maps())?;
            return Ok(None);
        }
        let failed = |e: &(dyn std::error::Error + 'static)| {
            kernel_error(format!("opening {}", path.display()), e)
        };
        let map = MapData::from_pin(&path).map_err(|e| failed(&e))?;
        let (length, fd) = (
            map.info().map_err(|e| failed(&e))?.max_entries(),
            std::os::fd::AsFd::as_fd(map.fd()),
        );
        let identity = Shared::<Identity>::map(fd, length)
            .map_err(|e| failed(&e))?
            .load(0);
        match identity.version {
            VERSION => Ok(Some(identity)),
            0 => {
                remove_children(&self.maps())?;
                Ok(None)
            }
            found => Err(DatapathError::OtherVersion {
                path: self.root.clone(),
                found,
                ours: VERSION,
            }),
        }
    }

    /// Checks that pinned tables are such as `wanted` asks for, which is what a new start
    /// would make; its keys don't count.
    ///
    /// # Errors
    ///
    /// [`DatapathError::OtherSize`], [`DatapathError::OtherTimeouts`] or
    /// [`DatapathError::OtherPool`].
    pub fn check(found: &Identity, wanted: &Identity) -> Result<(), DatapathError> {
        if found.flow_shift != wanted.flow_shift {
            return Err(DatapathError::OtherSize {
                found: object::flows(found),
                asked: object::flows(wanted),
            });
        }
        if (found.tick_shift, found.timeouts) != (wanted.tick_shift, wanted.timeouts) {
            return Err(DatapathError::OtherTimeouts);
        }
        if found.pool != wanted.pool {
            return Err(DatapathError::OtherPool {
                found: told(found.pool),
                asked: told(wanted.pool),
            });
        }
        Ok(())
    }

    /// Interfaces that have a pinned link, by name.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Pin`].
    pub fn linked(&self) -> Result<Vec<String>, DatapathError> {
        let links = self.links();
        let entries = fs::read_dir(&links).map_err(|e| pin("reading", &links, e))?;
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .map(|name| name.replace(':', "."))
            .collect())
    }

    /// Removes every pin below `root` and `root` itself: forwarding ends, flows are
    /// forgotten. False when there was nothing.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Pin`] or [`DatapathError::NotPermitted`].
    pub fn remove(root: &Path) -> Result<bool, DatapathError> {
        let (maps, links) = (root.join("maps"), root.join("links"));
        if !root.exists() {
            return Ok(false);
        }
        let mut any = false;
        // Links first: no program may run on maps that are half gone.
        for directory in [&links, &maps] {
            if directory.exists() {
                any = true;
                remove_children(directory)?;
                fs::remove_dir(directory).map_err(|e| pin("removing", directory, e))?;
            }
        }
        // Somebody else's things may lie beside ours.
        match fs::remove_dir(root) {
            Err(e) if e.kind() != io::ErrorKind::DirectoryNotEmpty => Err(pin("removing", root, e)),
            _ => Ok(any),
        }
    }
}

fn told(pool: Pool) -> String {
    if pool.size() == 0 {
        return "none".into();
    }
    let last = u32::from(pool.first_port) + u32::from(pool.buckets) * 8 - 1;
    format!(
        "{} IPv4 and {} IPv6 addresses with the ports {}-{last}",
        pool.v4, pool.v6, pool.first_port
    )
}

fn remove_children(directory: &Path) -> Result<(), DatapathError> {
    let entries = fs::read_dir(directory).map_err(|e| pin("reading", directory, e))?;
    for entry in entries {
        let path = entry.map_err(|e| pin("reading", directory, e))?.path();
        fs::remove_file(&path).map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied => {
                DatapathError::NotPermitted(format!("removing {}: {e}", path.display()))
            }
            _ => pin("removing", &path, e),
        })?;
    }
    Ok(())
}

fn pin(what: &'static str, path: &Path, source: io::Error) -> DatapathError {
    DatapathError::Pin {
        what,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Timeouts;
    use std::time::Duration;

    #[test]
    fn tables_in_use_are_not_made_anew() {
        let timeouts = Timeouts::default();
        let made = |flows, timeouts: &Timeouts| {
            object::new_identity(flows, timeouts).expect("random numbers")
        };
        let found = made(100_000, &timeouts);
        assert!(Pins::check(&found, &made(100_000, &timeouts)).is_ok());
        let text = |wanted: &Identity| Pins::check(&found, wanted).unwrap_err().to_string();
        assert!(text(&made(1_000_000, &timeouts)).contains("set max_flows back"));
        let shorter = Timeouts {
            udp: Duration::from_secs(1),
            ..timeouts
        };
        assert!(text(&made(100_000, &shorter)).contains("set [timeouts] back"));
        let pool = Pool {
            first_port: 1_024,
            buckets: 8,
            v4: 1,
            v6: 0,
        };
        let text = text(&Identity {
            pool,
            ..made(100_000, &timeouts)
        });
        assert!(text.contains("in use is none and the configuration asks for 1 IPv4 and 0 IPv6 addresses with the ports 1024-1087"), "{text}");
    }
}
