//! Why something is refused, and what to do instead.

use thiserror::Error;

/// A rule that was broken: the reason and the way out, without a place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, in one line.
    pub help: String,
}

impl Refusal {
    /// A refusal with its reason and its way out.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }

    /// The reason and the way out in one line, for where there is room for one.
    pub fn one_line(&self) -> String {
        format!("{}; {}", self.message, self.help)
    }
}

/// A value from outside as it may be shown: quoted, escaped and cut short.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 48;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!(
        "`{}`",
        shown.escape_debug().to_string().replace("\\\"", "\"")
    )
}

/// The candidate that `text` was most likely meant to be, if any is near.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words than any of ours are never near, and cost time to compare.
    if text.len() > 64 {
        return None;
    }
    let near = |candidate: &str| {
        let distance = strsim::osa_distance(&text.to_lowercase(), &candidate.to_lowercase());
        (distance * 3 <= candidate.chars().count().max(3)).then_some(distance)
    };
    candidates
        .into_iter()
        .filter_map(|candidate| Some((near(candidate)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Names as a reader lists them: quoted, the first few, and how many more.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let names: Vec<_> = names.into_iter().collect();
    let mut shown = names
        .iter()
        .take(SHOWN)
        .map(|name| quoted(name))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        shown.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    shown
}

/// The way out of a name that isn't there: the one that was meant, or those that are.
pub fn alternatives<'a>(name: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, names.clone()) {
        Some(near) => format!("did you mean {}?", quoted(near)),
        None if names.clone().next().is_none() => "there are none yet".to_owned(),
        None => format!("there are: {}", listed(names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_near_and_another_word_is_not() {
        let keys = ["interfaces", "max_flows", "vip", "port"];
        assert_eq!(nearest("interface", keys), Some("interfaces"));
        assert_eq!(nearest("max-flows", keys), Some("max_flows"));
        assert_eq!(nearest("VIP", keys), Some("vip"));
        assert_eq!(nearest("prot", keys), Some("port"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("", keys), None);
    }

    #[test]
    fn what_is_shown_is_escaped_and_short() {
        assert_eq!(quoted("a\u{1b}[31m"), "`a\\u{1b}[31m`");
        assert_eq!(quoted(&"x".repeat(1000)).chars().count(), 51);
        assert_eq!(quoted("say \"hi\""), "`say \"hi\"`");
    }

    #[test]
    fn long_lists_end_with_a_count() {
        assert_eq!(listed(["a", "b"]), "`a`, `b`");
        assert!(listed(["a"; 20]).ends_with("and 12 more"));
    }
}
