//! What the kernel knows about links, addresses, routes and neighbours.
//!
//! [`NetState`] is a picture of it that [`Watcher`] keeps true through netlink;
//! [`NetState::hop`] says from it how a frame reaches an address. IPv4 only,
//! and only the main routing table: policy rules are not followed.

mod decode;
mod dump;
mod hop;
mod resolve;
mod routes;
mod state;
mod watcher;
mod xdp;

pub use hop::{Hop, NoHop};
pub use routes::{Prefix, Route};
pub use state::{Link, Neighbour, NetState};
pub use watcher::{WatchError, Watcher};
pub use xdp::xdp_mode;

/// An Ethernet address, in the order in which it is on the wire.
pub type Mac = [u8; 6];

#[cfg(test)]
mod namespace_tests;
#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod routes_tests;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod testbed;
