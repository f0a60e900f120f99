//! Which node of a group holds its virtual addresses: VRRP, and a lease.
//!
//! [`Packet`] reads and writes advertisements, [`Machine`] decides. Both are pure: packets,
//! events and times come in as arguments. [`Runner`] is the thread around them.
//!
//! # The lease
//!
//! VRRP alone says when a standby takes over, not when the active node stops. A daemon that
//! has died, was stopped (SIGSTOP) or starves can't step down. So the active node holds the
//! VIPs by a deadline that the data plane looks at
//! ([`HoldUntil`](Action::HoldUntil)), and each advertisement that it has sent moves the deadline to
//! `L = 3·I` ([`lease`]) after the moment before it was sent, where `I` is its interval.
//! A standby takes over `M = 3·I + skew` after the last advertisement that it received
//! (RFC 9568 section 6.1, RFC 3768 section 6.1), in version 3 with the `I` of that
//! advertisement, in version 2 with its own, which it has checked to be the same. The skew is at
//! least `I/256` (version 3) or 1/256 s (version 2), so `L < M` for a standby of any priority,
//! with more between them than clocks drift apart in that time.
//!
//! What follows, where `d` is the longest time from the sending of an advertisement to its
//! effect at the receiver:
//!
//! | what happens | how long two nodes may both answer |
//! |---|---|
//! | the active node crashes, is stopped or starves | not at all: its deadline has passed when a standby takes over |
//! | … and the last `k` advertisements before had been lost | at most `min(k·I, L)` |
//! | it goes on (SIGCONT) before its lease has run out, just when a standby takes over | `d` |
//! | it goes on later | not at all: it finds its lease run out before it does anything else, and listens like a node that has just been started |
//! | preemption; a cold start of two with equal priorities | `d`: the one that has to go goes when it hears the other |
//! | it stops orderly, hands over | `d`: it keeps the VIPs until it hears its successor, so none is without an answer; if that advertisement is lost, until the lease that it cut to `1.5·I` (`255/256 s + I/2` in version 2) has run out |
//! | it can't serve (tracking, link) | not at all: it releases before it resigns |
//! | the network splits | as long as it is split: each half can't know of the other. Afterwards until the next advertisement of the node that stays, at most `I + d`, and `I` more for each one that is lost |
//!
//! Whatever else happens, a node that doesn't run or can't send answers for at most `L` after its
//! last advertisement, and two that both resign in a conflict until their leases, cut to `1.5·I`,
//! have run out. In a conflict, each node answers the other's advertisement at once (or `I/8` after its own last one), so
//! mostly it is over sooner than that.
//!
//! This rests on three things: [`Event::Timer`] comes after all that was received before
//! (or a standby that was stopped would take over from a living node);
//! `now` is read before the event is handled; and actions are carried out in their order. A
//! peer that waits for fewer than three advertisements (keepalived's
//! `down_timer_adverts`) takes over before the lease has run out. A virtual machine
//! that is paused answers nobody while its clock stands still, but may find its lease lasting
//! when it goes on: then both answer for at most `L + d`.

mod advert;
mod announce;
mod announce_frame;
mod announcer;
mod checksum;
mod event;
mod group;
mod interval;
mod limiter;
mod machine;
mod packet;
mod packet_error;
mod received;
mod runner;
mod socket;
mod status;
mod timing;

pub use checksum::{Convention, PROTOCOL};
pub use event::{Action, Clash, Event, Heard, Reason, Settings, State};
pub use interval::{Interval, IntervalError};
pub use machine::Machine;
pub use packet::{EncodeError, Expected, HOP_LIMIT, MAX_MESSAGE, Packet, Version, peek_vrid};
pub use packet_error::PacketError;
pub use received::Received;
pub use runner::{Addresses, Announced, Command, GroupSetup, Report, Runner, StartError};
pub use socket::OpenError;
pub use status::{GroupStatus, SeenClash, Transition};
pub use timing::lease;

/// Nanoseconds: a time on the monotonic clock, or a span of it.
pub type Nanos = u64;

#[cfg(test)]
mod announce_frame_tests;
#[cfg(test)]
mod machine_duty_tests;
#[cfg(test)]
mod machine_testbed;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod packet_tests;
#[cfg(test)]
mod runner_hostile_tests;
#[cfg(test)]
mod runner_testbed;
#[cfg(test)]
mod runner_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulation_tests;
