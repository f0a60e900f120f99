//! The way of an intention.
pub mod config;
pub mod health;
pub mod net;
