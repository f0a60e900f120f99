//! The HTTP/JSON API on a Unix socket: what it says, who serves it, who asks.

pub mod client;
pub mod flows;
pub mod server;
pub mod socket;
pub mod types;
pub mod vip;
pub mod watch;
