//! TOML values with their places: typed access that notes each error and goes on.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::Report,
    refusal::{Refusal, listed, nearest, quoted},
};

/// A value from the file.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    key: &'a str,
    is_item: bool,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// An item of the array under `key`.
    pub(super) fn item(key: &'a str, item: &'a Spanned<DeValue<'a>>) -> Self {
        Self {
            key,
            is_item: true,
            value: item.get_ref(),
        }
    }

    /// The value as a string.
    pub(super) fn text(self) -> Result<&'a str, Refusal> {
        self.value.as_str().ok_or_else(|| {
            let help = match self.value {
                DeValue::Integer(number) => {
                    format!(
                        "put it in quotes: {}",
                        self.written(&format!("\"{number}\""))
                    )
                }
                _ => "put the text in quotes".to_owned(),
            };
            self.mistyped("a string", help)
        })
    }

    /// The value as an integer.
    pub(super) fn integer(self) -> Result<i128, Refusal> {
        if let Some(number) = self.value.as_integer() {
            let value = i64::from_str_radix(number.as_str(), number.radix());
            return value.map(i128::from).map_err(|_| {
                let message = format!("the number {} is too large", quoted(&number.to_string()));
                Refusal::new(message, "write a smaller one")
            });
        }
        let unquoted = self
            .value
            .as_str()
            .filter(|text| text.parse::<i64>().is_ok());
        let help = match unquoted {
            Some(text) => format!("leave out the quotes: {} = {text}", self.key),
            None => "write a whole number without quotes".to_owned(),
        };
        Err(self.mistyped("an integer", help))
    }

    /// The value as a truth value.
    pub(super) fn boolean(self) -> Result<bool, Refusal> {
        self.value.as_bool().ok_or_else(|| {
            let help = format!("write {} or {}", self.written("true"), self.written("false"));
            self.mistyped("true or false", help)
        })
    }

    /// The value as the text of a duration.
    pub(super) fn duration(self) -> Result<&'a str, Refusal> {
        match self.bare_integer() {
            Some(number) => Err(Refusal::new(
                format!("the duration {number} has no unit"),
                format!(
                    "write {0} = \"{number}ms\" or {0} = \"{number}s\"",
                    self.key
                ),
            )),
            None => self.text(),
        }
    }

    /// The value as it stands in the file, if it is an integer.
    pub(super) fn bare_integer(self) -> Option<String> {
        self.value.as_integer().map(ToString::to_string)
    }

    /// The value as an array.
    pub(super) fn array(self) -> Result<&'a [Spanned<DeValue<'a>>], Refusal> {
        self.value.as_array().map(|array| &**array).ok_or_else(|| {
            let text = self.value.as_str().unwrap_or("…");
            let help = format!(
                "put it in brackets: {} = [\"{}\"]",
                self.key,
                text.escape_debug()
            );
            self.mistyped("an array", help)
        })
    }

    /// The value as a table.
    pub(super) fn table(self) -> Result<&'a DeTable<'a>, Refusal> {
        self.value.as_table().ok_or_else(|| {
            let help = format!("write {}", self.written("{ … }"));
            self.mistyped("a table", help)
        })
    }

    /// The value as an array of tables that `header` begins, such as `[[service]]`.
    pub(super) fn tables(self, header: &str) -> Result<&'a [Spanned<DeValue<'a>>], Refusal> {
        match self.value.as_array() {
            Some(array) => Ok(array),
            None => Err(self.mistyped(
                "a list of tables",
                format!("begin each with a line `{header}`, after what it belongs to"),
            )),
        }
    }

    /// Whether the value is a string, for values that may be one or another type.
    pub(super) fn is_text(self) -> bool {
        self.value.is_str()
    }

    /// The value as text, unless that is a number in quotes.
    pub(super) fn range(self) -> Option<&'a str> {
        let text = self.value.as_str()?;
        text.parse::<i64>().is_err().then_some(text)
    }

    fn mistyped(self, wanted: &str, help: String) -> Refusal {
        let got = match self.value.type_str() {
            found @ ("array" | "integer") => format!("an {found}"),
            found => format!("a {found}"),
        };
        let item = if self.is_item { "an item of " } else { "" };
        Refusal::new(
            format!("{item}`{}` must be {wanted}, and this is {got}", self.key),
            help,
        )
    }

    /// How another value would stand in the file instead of this one.
    fn written(self, other: &str) -> String {
        match self.is_item {
            true => other.to_owned(),
            false => format!("{} = {other}", self.key),
        }
    }
}

/// A table whose keys are read one after the other.
#[derive(Clone)]
pub(super) struct Keys<'a> {
    table: &'a DeTable<'a>,
    place: Range<usize>,
    what: &'static str,
}

impl<'a> Keys<'a> {
    /// A table that may hold the `known` keys; others are noted as errors.
    /// `what` names the table in errors, and `place` is where it begins.
    pub(super) fn new(
        report: &mut Report<'_>,
        table: &'a DeTable<'a>,
        place: Range<usize>,
        what: &'static str,
        known: &[&str],
    ) -> Self {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", listed(known.iter().copied())),
            };
            report.add(
                key.span(),
                Refusal::new(format!("{what} has no key {}", quoted(name)), help),
            );
        }
        Self { table, place, what }
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// Where a key's value is, or the table when it has none.
    pub(super) fn span(&self, key: &str) -> Range<usize> {
        self.table
            .get(key)
            .map_or_else(|| self.place(), Spanned::span)
    }

    /// Whether the table has a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A value that must be there; `None` after an error was noted.
    pub(super) fn need<T>(
        &self,
        report: &mut Report<'_>,
        key: &'static str,
        example: &str,
        rule: impl FnOnce(Value<'a>) -> Result<T, Refusal>,
    ) -> Option<T> {
        if !self.has(key) {
            report.add(
                self.place(),
                Refusal::new(
                    format!("{} needs the key `{key}`", self.what),
                    format!("add it, such as: {key} = {example}"),
                ),
            );
        }
        self.maybe(report, key, rule)?
    }

    /// A value or its default; `None` after an error was noted.
    pub(super) fn or<T>(
        &self,
        report: &mut Report<'_>,
        key: &'static str,
        default: T,
        rule: impl FnOnce(Value<'a>) -> Result<T, Refusal>,
    ) -> Option<T> {
        Some(self.maybe(report, key, rule)?.unwrap_or(default))
    }

    /// A value that may be missing: `Some(None)` when it is, `None` after an
    /// error was noted.
    pub(super) fn maybe<T>(
        &self,
        report: &mut Report<'_>,
        key: &'static str,
        rule: impl FnOnce(Value<'a>) -> Result<T, Refusal>,
    ) -> Option<Option<T>> {
        let Some(spanned) = self.table.get(key) else {
            return Some(None);
        };
        let value = Value {
            key,
            is_item: false,
            value: spanned.get_ref(),
        };
        report.keep(&spanned.span(), rule(value)).map(Some)
    }
}

/// What a rule makes of each item of the array under `key`; it is told the item's
/// line. `None` after errors were noted.
pub(super) fn each<'a, T>(
    report: &mut Report<'_>,
    key: &'a str,
    items: &'a [Spanned<DeValue<'a>>],
    mut rule: impl FnMut(Value<'a>, usize) -> Result<T, Refusal>,
) -> Option<Vec<T>> {
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        let line = report.line(item.span().start);
        let value = rule(Value::item(key, item), line);
        kept.extend(report.keep(&item.span(), value));
    }
    (kept.len() == items.len()).then_some(kept)
}
