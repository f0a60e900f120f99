//! Flowgate and keepalived in one VRRP group: who holds the VIPs after what.
//!
//! ```text
//!   ours (flowgate)      theirs (keepalived)      watcher
//!   10.0.0.2             10.0.0.3                 10.0.0.9      asks by ARP and neighbour
//!   2001:db8::2          2001:db8::3              2001:db8::9   solicitation who has the VIPs,
//!        └──────────────── a switch ────────────────┘            10.0.0.80 and 2001:db8::80
//! ```
//!
//! Everything that Flowgate sends is captured at its port of the switch, for tshark to
//! read. A split network is one whose switch keeps the nodes' ports from each other: the watcher
//! still hears both.

pub mod answers;
pub mod bed;
pub mod capture;
pub mod judge;
pub mod keepalived;
pub mod matrix;
mod relay;
mod stalls;
pub mod trial;
mod tshark;
pub mod wire;

pub use tshark::version as tshark_version;
