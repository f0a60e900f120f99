//! The way of an intention.

pub mod config;
pub mod datapath;
pub mod desired;
