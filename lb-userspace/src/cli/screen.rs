//! Where answers and errors go, and in which form.

use std::{
    io::{self, Write},
    ops::ControlFlow,
};

use serde::Serialize;

use super::{Output, REFUSED};
use crate::{api::types::ApiError, config::ConfigErrors};

/// Standard output and standard error, or what stands for them in a test.
pub struct Screen<'a> {
    /// Takes answers.
    pub out: &'a mut dyn Write,
    /// Takes errors.
    pub err: &'a mut dyn Write,
}

impl Screen<'_> {
    /// Writes an answer, as text or as the JSON of `value`; returns the exit status.
    pub(super) fn answer(&mut self, output: Output, text: &str, value: &impl Serialize) -> u8 {
        let text = match output {
            Output::Table => Ok(text.to_owned()),
            Output::Json => serde_json::to_string_pretty(value).map(|json| json + "\n"),
        };
        let written = text
            .map_err(io::Error::from)
            .and_then(|text| self.out.write_all(text.as_bytes()))
            .and_then(|()| self.out.flush());
        match written {
            // A reader that has seen enough (`| head`) is no failure.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let told = format!("the answer can't be written: {error}");
                self.complain(output, &told, "is there room on the disk?");
                REFUSED
            }
            _ => 0,
        }
    }

    /// Writes a line of an answer that goes on; breaks it off when nobody reads it.
    pub(super) fn line(&mut self, text: &str) -> ControlFlow<()> {
        match writeln!(self.out, "{text}").and_then(|()| self.out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Writes an error and its way out.
    pub(super) fn complain(&mut self, output: Output, error: &str, hint: &str) {
        let text = match (output, hint) {
            (Output::Table, "") => format!("error: {error}"),
            (Output::Table, _) => format!("error: {error}\n  = help: {hint}"),
            (Output::Json, _) => json(error, hint),
        };
        self.tell(&text);
    }

    /// Writes what is wrong with a configuration file.
    pub(super) fn explain(&mut self, output: Output, errors: &ConfigErrors) {
        let text = errors.to_string();
        self.tell(&match output {
            Output::Table => text,
            Output::Json => json(&text, "correct the file"),
        });
    }

    fn tell(&mut self, text: &str) {
        // Without a standard error there is nobody to tell.
        let _ = writeln!(self.err, "{text}");
    }
}

fn json(error: &str, hint: &str) -> String {
    let (error, hint) = (error.to_owned(), hint.to_owned());
    serde_json::to_string_pretty(&ApiError { error, hint }).unwrap_or_default()
}
