//! The configuration: text that has been validated.

pub mod model;
