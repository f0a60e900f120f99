//! Two load balancers, one virtual IP: what happens when one fails.
//!
//! ```text
//!   client .10 … .17 ── 198.51.100.0/24 ──┐          front (a switch)           back (a switch)
//!                                      router .1 ──────┬── .2 lb1 .2 ──────────────┬
//!   prober .10 ──────── 198.51.101.0/24 ──┘            ├── .3 lb2 .3 ──────────────┤
//!                                                      ├── .11 … .13 web1 … web3 ──┘ .11 … .13
//!                                                      └── prober (asks by ARP)
//!                                                  10.0.0.0/24                10.0.1.0/24
//! ```
//!
//! The router finds the VIP by ARP, so who has it is settled as in life: by what the
//! nodes announce. The servers are reached by the front network in mode `dsr`, where they
//! have the VIP on `lo`, and by the back network else.
//!
//! A trial ([`trial::run`]) starts a [`contender::Contender`] on both nodes, lets clients
//! talk ([`load`]), does something to it ([`fault`]), and notes what became of every
//! connection ([`outcome`]), beside probes that no retransmission blurs: who has the VIP
//! ([`arp`]), whether it accepts new connections ([`syn`]), and whether it still serves a
//! flow that it knows ([`flow`]).

pub mod arp;
pub mod bed;
pub mod clock;
pub mod contender;
pub mod fault;
pub mod flow;
pub mod flowgate;
pub mod keepalived;
pub mod load;
pub mod outcome;
pub mod probe;
mod pulse;
pub mod syn;
pub mod trial;
mod waits;
pub mod way;
