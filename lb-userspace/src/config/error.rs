//! What is wrong with a configuration file, told like a compiler tells it.

use std::{fmt, ops::Range};

use thiserror::Error;

use super::refusal::Refusal;

/// Errors that are told of one file; a file with more has one cause.
const SHOWN: usize = 30;

/// The columns of a source line that are shown around an error.
const WIDTH: usize = 100;

/// Everything that was found wrong with a configuration, in file order.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigErrors {
    /// The file as it was named.
    pub file: String,
    /// The errors, at least one.
    pub errors: Vec<ConfigError>,
}

/// One error: where, what, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The place in the text; `None` when the file could not be read.
    pub place: Option<Place>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters are marked, at least 1.
    pub width: usize,
    /// The line's text, made safe to print, cut around the place.
    pub source: String,
    /// The marked text's first column within `source`, from 0.
    pub offset: usize,
}

impl ConfigErrors {
    /// A file that could not be read at all.
    pub(super) fn unread(file: &str, refusal: Refusal) -> Self {
        Self {
            file: file.to_owned(),
            errors: vec![ConfigError {
                place: None,
                message: refusal.message,
                help: refusal.help,
            }],
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().take(SHOWN).enumerate() {
            if index > 0 {
                writeln!(out, "\n")?;
            }
            error.write(&self.file, out)?;
        }
        let more = self.errors.len().saturating_sub(SHOWN);
        if more > 0 {
            write!(out, "\n\n{}: error: and {more} more", self.file)?;
        }
        Ok(())
    }
}

impl ConfigError {
    fn write(&self, file: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            return write!(
                out,
                "{file}: error: {}\n  = help: {}",
                self.message, self.help
            );
        };
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(
            out,
            "{file}:{}:{}: error: {}",
            place.line, place.column, self.message
        )?;
        writeln!(out, "{margin} |")?;
        writeln!(out, "{}", format!("{number} | {}", place.source).trim_end())?;
        let (indent, marks) = (" ".repeat(place.offset), "^".repeat(place.width));
        writeln!(out, "{margin} | {indent}{marks}")?;
        write!(out, "{margin} = help: {}", self.help)
    }
}

/// A text and the errors found in it so far.
pub(super) struct Report<'t> {
    file: &'t str,
    text: &'t str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    found: Vec<(Range<usize>, Refusal)>,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0)
            .chain(breaks.map(|(at, _)| at + 1))
            .collect();
        Self {
            file,
            text,
            lines,
            found: Vec::new(),
        }
    }

    /// Notes an error about the text in `span` (bytes).
    pub(super) fn add(&mut self, span: Range<usize>, refusal: Refusal) {
        self.found.push((span, refusal));
    }

    /// Notes an error unless the same was noted before, elsewhere.
    pub(super) fn add_once(&mut self, span: Range<usize>, refusal: Refusal) {
        if !self.found.iter().any(|(_, noted)| *noted == refusal) {
            self.add(span, refusal);
        }
    }

    /// The value of a rule that was kept; an error is noted.
    pub(super) fn keep<T>(&mut self, span: &Range<usize>, result: Result<T, Refusal>) -> Option<T> {
        result
            .map_err(|refusal| self.add(span.clone(), refusal))
            .ok()
    }

    /// The line, from 1, that holds a byte.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= at)
    }

    /// All errors in file order, or `Ok` when there were none.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|(span, _)| span.start);
        let found = std::mem::take(&mut self.found);
        let errors = found
            .into_iter()
            .map(|(span, refusal)| ConfigError {
                place: Some(self.place(span)),
                message: refusal.message,
                help: refusal.help,
            })
            .collect();
        Err(ConfigErrors {
            file: self.file.to_owned(),
            errors,
        })
    }

    fn place(&self, span: Range<usize>) -> Place {
        let at = boundary(self.text, span.start);
        let line = self.line(at);
        let begin = self.lines[line - 1];
        let rest = &self.text[begin..];
        let whole = rest.split('\n').next().unwrap_or(rest);
        let before = self.text[begin..at].chars().count();
        let length = whole.chars().count();
        let end = boundary(self.text, span.end.max(at));
        let marked = self.text[at..end].split('\n').next().unwrap_or_default();
        let cut = match length {
            0..=WIDTH => 0,
            _ => before.saturating_sub(WIDTH / 2),
        };
        let safe = |c: char| if c.is_control() { ' ' } else { c };
        let offset = before - cut;
        Place {
            line,
            column: before + 1,
            width: marked
                .chars()
                .count()
                .min(length.saturating_sub(before))
                .clamp(1, WIDTH - offset),
            source: whole.chars().skip(cut).take(WIDTH).map(safe).collect(),
            offset,
        }
    }
}

/// The last place up to `at` where `text` can be cut.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}
