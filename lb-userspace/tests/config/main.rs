//! What a configuration file means, and what is said of one that breaks a rule.

mod any_text;
mod groups;
mod meaning;
mod refused;
mod room;
mod texts;
