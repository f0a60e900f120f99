//! The way of an intention.

pub mod config;
pub mod datapath;
pub mod desired;
pub mod health;
pub mod net;
