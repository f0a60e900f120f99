//! The way of an intention.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod datapath;
pub mod desired;
pub mod health;
pub mod net;
pub mod plan;
mod realtime;
pub mod replicate;
pub mod scheduler;
pub mod vrrp;
