//! What an operator can change while the daemon runs, and what is kept of it.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::IpAddr,
    path::Path,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::refusal::Refusal;

/// One change of the backends of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A new backend takes connections.
    AddBackend {
        /// The service's name.
        service: String,
        /// The backend's name within the service.
        name: String,
        /// Its own address.
        address: IpAddr,
        /// Its port; `None` is the service's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u32>,
        /// Its share of new connections beside the others', 1–256.
        #[serde(default = "one")]
        weight: u32,
        /// Whether it takes new connections only while no other does.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        backup: bool,
    },
    /// A backend leaves at once, with its connections.
    RemoveBackend {
        /// The service's name.
        service: String,
        /// The backend's name within the service.
        name: String,
    },
    /// A backend takes new connections again.
    Enable {
        /// The service's name.
        service: String,
        /// The backend's name within the service.
        name: String,
    },
    /// A backend keeps its connections and gets no new ones.
    Drain {
        /// The service's name.
        service: String,
        /// The backend's name within the service.
        name: String,
    },
    /// A backend gets another share of new connections.
    SetWeight {
        /// The service's name.
        service: String,
        /// The backend's name within the service.
        name: String,
        /// The share, 1–256.
        weight: u32,
    },
}

fn one() -> u32 {
    1
}

impl Change {
    /// The names of the service and the backend that it concerns.
    pub fn names(&self) -> (&str, &str) {
        match self {
            Self::AddBackend { service, name, .. }
            | Self::RemoveBackend { service, name }
            | Self::Enable { service, name }
            | Self::Drain { service, name }
            | Self::SetWeight { service, name, .. } => (service, name),
        }
    }

    /// Whether its service has the same backends after it as before.
    pub fn keeps_backends(&self) -> bool {
        match self {
            Self::AddBackend { .. } | Self::RemoveBackend { .. } => false,
            Self::Enable { .. } | Self::Drain { .. } | Self::SetWeight { .. } => true,
        }
    }

    /// What it does, in a few words for logs and warnings.
    pub fn told(&self) -> String {
        let verb = match self {
            Self::AddBackend { .. } => "adding",
            Self::RemoveBackend { .. } => "removing",
            Self::Enable { .. } => "enabling",
            Self::Drain { .. } => "draining",
            Self::SetWeight { .. } => "weighting",
        };
        let (service, name) = self.names();
        format!("{verb} backend `{name}` of service `{service}`")
    }
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Whether anything is different now.
    pub changed: bool,
    /// What is so now, in one line.
    pub message: String,
}

/// Why a change was refused; nothing is different then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// It names a service or backend that isn't there.
    #[error("{0}")]
    Unknown(Refusal),
    /// It would break a rule.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl ChangeError {
    /// The reason and the way out.
    pub fn refusal(&self) -> &Refusal {
        match self {
            Self::Unknown(refusal) | Self::Refused(refusal) => refusal,
        }
    }
}

/// The changes that lead from a configuration to what is desired: as few as can
/// be, in an order in which none is refused. Kept in a file so that they outlive
/// the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuntimeChanges {
    /// The changes, in the order in which to apply them.
    pub changes: Vec<Change>,
}

impl RuntimeChanges {
    /// Reads the changes kept in a file; none when there is no file.
    ///
    /// # Errors
    /// When the file can't be read, or is not what [`Self::save`] writes.
    pub fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Keeps the changes in a file, replacing it whole: whenever the daemon or
    /// the machine stops, the old file is there or the new one.
    ///
    /// # Errors
    /// When the file can't be written; the old one is untouched then.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    }
}
