//! The socket that the API is served on.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use thiserror::Error;
use tokio::net::UnixListener;

/// Who may use the API: the owner and the group of the socket.
const MODE: u32 = 0o660;

/// Why the socket can't be served on.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another daemon serves on it.
    #[error(
        "another daemon answers on {0}; stop it first (`systemctl stop flowgate`), \
         or give this one another --socket"
    )]
    InUse(PathBuf),
    /// Something that isn't a socket has its name.
    #[error("{0} is there and is not a socket; move it away, or give another --socket")]
    NotASocket(PathBuf),
    /// The kernel said no.
    #[error(
        "can't serve on {path}: {error}; does its directory exist, and may this user write it?"
    )]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Listens on a Unix socket that only its owner and group may use. A socket that
/// a killed daemon left behind is replaced.
///
/// # Errors
/// When another daemon listens there, or the socket can't be made.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let io = |error| BindError::Io {
        path: path.to_owned(),
        error,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(BindError::InUse(path.to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    // It gets its name only once its mode is right, so nobody slips in before.
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(io)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(MODE)).map_err(io)?;
    fs::rename(&fresh, path).map_err(io)?;
    Ok(listener)
}
