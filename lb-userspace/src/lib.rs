//! The way of an intention.
pub mod api;
pub mod cli;
pub mod config;
pub mod desired;
