//! The test harness: hosts made of network namespaces, real nginx servers, a
//! client that counts, and the product as a child process.
//!
//! Everything that a process of this crate leaves in the system (namespaces,
//! pins, temporary directories) carries its process id in its name, so that it
//! can be found and removed whatever happened to the process: see [`marks`].

pub mod bpffs;
pub mod bulk;
pub mod card;
pub mod claims;
pub mod client;
pub mod counters;
pub mod crowd;
pub mod decapsulate;
pub mod dns;
pub mod echo;
pub mod farm;
pub mod flowgate;
pub mod frames;
pub mod held;
pub mod http;
pub mod interop;
pub mod interrupt;
pub mod lab;
pub mod link;
pub mod machine;
pub mod marks;
pub mod netns;
pub mod nginx;
pub mod pair;
pub mod parrot;
pub mod ping;
pub mod process;
pub mod require;
pub mod site;
pub mod spread;
pub mod stage;
pub mod steal;
pub mod stream;
pub mod wait;
pub mod xdp;
