//! The configuration: text that has been validated.
//!
//! `table` gives typed access to a TOML tree with its places; `read` and the files
//! named like the sections go through it; `rules` holds what must be true of a
//! value and `roster` what must be true between values. Runtime changes are held against
//! the same rules and roster.

mod error;
mod forward;
mod full_nat;
mod health;
pub mod limits;
pub mod model;
mod read;
pub mod refusal;
mod replication;
pub mod roster;
pub mod rules;
mod service;
mod table;
mod timeouts;
mod tunnel;
mod vrrp;

use std::{fs::File, io::Read, path::Path};

use toml::de::DeTable;

pub use self::error::{ConfigError, ConfigErrors, Place};
use self::{error::Report, limits::MAX_FILE, model::Config, refusal::Refusal};

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// When the file can't be read or breaks a rule; see [`Config::parse`].
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let text = read_text(path).map_err(|refusal| ConfigErrors::unread(&name, refusal))?;
        Self::parse(&name, &text)
    }

    /// Validates a text; `name` is what errors call it.
    ///
    /// # Errors
    /// Everything that is wrong with the text, in its order. When it isn't TOML,
    /// that alone is told, since the rest may have been misread.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        let mut report = Report::new(name, text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let help = match error.message() {
                "duplicate key" => "remove one of the two",
                _ => "the file must be TOML, see https://toml.io",
            };
            let refusal = Refusal::new(error.message(), help);
            report.add(error.span().unwrap_or(0..0), refusal);
        }
        let config = errors
            .is_empty()
            .then(|| read::config(&mut report, root.get_ref()))
            .flatten();
        report.finish()?;
        // A reader that gives up notes why, so there is a configuration here.
        config.ok_or_else(|| {
            let refusal = Refusal::new("could not be understood", "report this as a bug");
            ConfigErrors::unread(name, refusal)
        })
    }
}

fn read_text(path: &Path) -> Result<String, Refusal> {
    let unread = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "is the path right? `flowgate check --help` shows an example"
            }
            std::io::ErrorKind::PermissionDenied => "run as root, or let this user read it",
            _ => "give the path of a TOML file",
        };
        Refusal::new(format!("can't be read: {error}"), help)
    };
    let file = File::open(path).map_err(unread)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large, even an endless one.
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Refusal::new(
            format!("is larger than {} MiB", MAX_FILE >> 20),
            "give the path of a configuration file",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Refusal::new(
            format!("line {line} is not UTF-8 text"),
            "save the file as UTF-8",
        )
    })
}
