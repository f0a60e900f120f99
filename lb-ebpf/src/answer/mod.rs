//! What the load balancer answers itself: questions for its VIPs, while it holds them,
//! and packets too big to forward.

mod arp;
mod echo;
mod solicitation;
pub mod too_big;

pub use arp::arp;
pub use echo::{echo4, echo6};
pub use solicitation::solicitation;

/// Time to live of answers (RFC 1700, "IP TIME TO LIVE PARAMETER").
const LIFETIME: u8 = 64;
