//! What the kernel knows about links, addresses, routes and neighbours.
//!
//! [`NetState`] is a picture of it that [`Watcher`] keeps true through netlink;
//! [`NetState::hop`] says from it how a frame reaches an IPv4 or IPv6 address. Only
//! the main routing table counts: policy rules are not followed, nor routes for some
//! sources or types of service only. Of several next hops of a route the first that
//! is usable is taken, always the same for all flows.
//!
//! [`Groups`] lets neighbour solicitations in for addresses that the kernel doesn't
//! have.

mod addresses;
mod card;
mod decode;
mod dump;
mod groups;
mod hop;
mod link;
mod prefix;
mod resolve;
mod routes;
mod state;
mod vlan;
mod watcher;
mod xdp;

pub use card::{Card, Queues, card};
pub use groups::{GroupError, Groups};
pub use hop::{Hop, NoHop};
pub use link::Link;
pub use prefix::{Family, Prefix};
pub use routes::Route;
pub use state::{Neighbour, NetState};
pub use vlan::{LinkPath, Vlan, VlanProtocol, VlanTag, VlanTags};
pub use watcher::{WatchError, Watcher};
pub use xdp::xdp_mode;

/// An Ethernet address, in the order in which it is on the wire.
pub type Mac = [u8; 6];

#[cfg(test)]
mod addresses_tests;
#[cfg(test)]
mod groups_tests;
#[cfg(test)]
mod kernel_routes_tests;
#[cfg(test)]
mod namespace_tests;
#[cfg(test)]
mod namespace_v6_tests;
#[cfg(test)]
mod neighbour_tests;
#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod routes_tests;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod state_v6_tests;
#[cfg(test)]
pub(crate) mod testbed;
#[cfg(test)]
mod vlan_tests;
