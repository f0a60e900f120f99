//! The way of an intention.
pub mod config;
pub mod desired;
