//! The way of an intention.
pub mod config;
