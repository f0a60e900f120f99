//! The file that holds the cluster key, and what else is made of the key.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use lb_common::hash::FLOW_KEYS;
use thiserror::Error;

use super::{ClusterKey, KeyError, seal};

/// Bytes that are read: what is longer is no key.
const MOST: u64 = 4_096;

/// Why a file gives no cluster key.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// There is none.
    #[error(
        "there is no cluster key in {path}: make one with \
         `(umask 077; openssl rand -hex 32 > {path})`, and copy it to the other node"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// It can't be read.
    #[error("can't read the cluster key in {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is a folder, a device or a pipe.
    #[error("{path} is no ordinary file; the cluster key must be in one")]
    NoFile {
        /// What is there.
        path: PathBuf,
    },
    /// Others than its owner may read or write it.
    #[error(
        "others than its owner may use the cluster key in {path} (mode {mode:03o}): `chmod 600 {path}`"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds something else.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with the text.
        source: KeyError,
    },
}

impl ClusterKey {
    /// Reads a key file, which holds what [`ClusterKey::parse`] takes and is its owner's alone.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and the way out. Never quotes it.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let path_of = || path.to_path_buf();
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::NotFound => KeyFileError::Missing { path: path_of() },
            _ => KeyFileError::Read {
                path: path_of(),
                source,
            },
        };
        // A pipe that nobody writes to must not be waited for.
        let at_once = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(at_once).open(path);
        let file = file.map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(KeyFileError::NoFile { path: path_of() });
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Mode {
                path: path_of(),
                mode,
            });
        }
        let mut text = Vec::new();
        file.take(MOST).read_to_end(&mut text).map_err(failed)?;
        // What isn't text isn't a key: the replaced characters are named.
        ClusterKey::parse(&String::from_utf8_lossy(&text)).map_err(|source| KeyFileError::Key {
            path: path_of(),
            source,
        })
    }

    /// The keys of the flow table: the same on both nodes, so that a flow lies in the same bucket.
    #[must_use]
    pub fn flow_keys(&self) -> [u64; FLOW_KEYS] {
        let mut bytes = [0; FLOW_KEYS * 8];
        seal::of_cluster(self, &[b"flowgate flow table: keys"], &mut bytes);
        let (words, _) = bytes.as_chunks::<8>();
        std::array::from_fn(|key| u64::from_be_bytes(words[key]))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    fn key(last: &str) -> String {
        format!("{}{last}\n", "01".repeat(31))
    }

    #[test]
    fn a_file_of_the_owners_alone_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster.key");
        let load = |mode| {
            set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
            ClusterKey::load(&path)
        };
        write(&path, key("ff")).expect("written");
        let expected = ClusterKey::parse(&key("ff")).expect("a key");
        assert_eq!(load(0o600).expect("a key"), expected);
        assert_eq!(load(0o400).expect("a key"), expected);
        for mode in [0o640, 0o604, 0o620, 0o644, 0o666, 0o601] {
            let error = load(mode).expect_err("others may use it").to_string();
            assert!(error.contains("chmod 600"), "{error}");
            assert!(error.contains(&format!("{mode:o}")), "{error}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_way_out_but_not_the_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster.key");
        let text = || {
            let error = ClusterKey::load(&path).expect_err("no key").to_string();
            assert!(error.contains("cluster.key"), "{error}");
            error
        };
        assert!(text().contains("openssl rand -hex 32 > "));
        let mut wrong = key("ff");
        wrong.replace_range(20..21, "x");
        for content in [wrong.as_bytes(), b"", &[0xff; 64], &[b'1'; 9_999]] {
            write(&path, content).expect("written");
            set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
            assert!(!text().contains("010101"));
        }
        std::fs::remove_file(&path).expect("ours");
        std::fs::create_dir(&path).expect("ours");
        assert!(text().contains("no ordinary file"));
        let inside = ClusterKey::load(&folder.path().join("cluster.key/x/y"));
        assert!(matches!(inside, Err(KeyFileError::Missing { .. })));
    }

    #[test]
    fn flow_keys_are_the_clusters_own() {
        let keys = |last| ClusterKey::parse(&key(last)).expect("a key").flow_keys();
        assert_eq!(keys("ff"), keys("ff"));
        assert_ne!(keys("ff"), keys("fe"));
        let distinct: std::collections::BTreeSet<_> = keys("ff").into_iter().collect();
        assert_eq!(distinct.len(), FLOW_KEYS);
        // Both nodes of a cluster must find the same, of whichever release they are. Reckoned by
        // RFC 5869 with another implementation.
        assert_eq!(keys("ff")[0], 0x3c50_3053_7deb_a8d7);
    }
}
