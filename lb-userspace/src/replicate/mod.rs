//! The standby's flow table follows the active node's.
//!
//! [`Sender`] runs on the active node and [`Receiver`] on the standby. Both are pure: datagrams and
//! the time come in, [`Action`]s go out; neither knows a socket or a clock. What they read and write is the
//! [`Tables`], memory that the data plane shares. A [`Replicator`] is the thread that lets them meet socket and clock.
//!
//! ```text
//! standby                                   active
//! Hello {session r, terms}            ──►
//!                                     ◄──   Welcome {session s, echo of r, terms}
//! Ack, sealed with keys of (r, s)     ──►   the session begins
//!                                     ◄──   roster: what backend and service numbers mean
//!                                     ◄──   covering chunks: all slots, full or empty
//!                                     ◄──   changes, as comparing with a shadow finds them
//! Ack of each datagram by its number  ──►
//!                                     ◄──   marks: in sync or not, and how far behind
//! ```
//!
//! * **Nothing is believed that isn't sealed** with a key made of the cluster key and of both sides'
//!   random session numbers ([`seal`]). A recorded greeting starts no session, since whoever sends it
//!   can't answer the number drawn for it.
//! * **A slot is in one datagram at a time.** While that isn't acknowledged, a newer change of the slot waits
//!   (and is one with the next). A datagram that isn't acknowledged is given up, and its slots are sent as
//!   they are by then; later datagrams say from which number on the sender still waits (the *floor*), and what is
//!   older is no longer taken. So loss, duplication and reordering leave nothing old behind.
//! * **Ages** travel as the time since the last packet, in the sender's ticks; the greeting says how long those are.
//! * **Numbers** of backends and services are a node's own: they depend on the order in which it saw its
//!   configuration change. A roster tells what they mean, rather than the greeting's terms: two nodes that are
//!   reconfigured one after the other stay connected in between.

mod digest;
mod feed;
mod flight;
mod follow;
mod greet;
mod key;
mod key_file;
mod merge;
mod rate;
mod receiver;
mod replicator;
mod roster;
pub mod seal;
mod sender;
mod shadow;
mod side;
mod socket;
mod status;
mod tables;
mod window;
pub mod wire;
mod worker;

#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod replicator_hostile_tests;
#[cfg(test)]
mod replicator_testbed;
#[cfg(test)]
mod replicator_tests;
#[cfg(test)]
mod simulation;

pub use key::{ClusterKey, KeyError};
pub use key_file::KeyFileError;
pub use receiver::{Receiver, Standby};
pub use replicator::{Replicator, Setup, StartError};
pub use roster::{Item, Kind, Member, Roster, fold};
pub use sender::{Active, Limits, Sender};
pub use shadow::{Found, Room, Scan, Shadow, Urgency};
pub use status::{Role, Status, Told, Traffic};
pub use tables::{Tables, View, Which, Write};

use lb_common::flow::Tick;
use thiserror::Error;
use wire::Difference;

/// A moment, on both of a node's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic nanoseconds.
    pub ns: u64,
    /// The data plane's coarse clock.
    pub tick: Tick,
}

/// A millisecond, as [`Now::ns`] counts.
pub const MILLISECOND: u64 = 1_000_000;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this datagram to the peer.
    Send(Vec<u8>),
    /// A session with the peer has begun.
    Connected,
    /// The session has ended.
    Disconnected(Ending),
    /// Whether the standby has everything, up to what changes right now. Told when it changes.
    InSync(bool),
    /// The peer, or whoever speaks in its place, is refused. The same reason is told once in
    /// ten seconds; no session is touched by it.
    Refused(Refusal),
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Ending {
    /// The peer said so.
    #[error("the peer has ended replication")]
    Bye,
    /// Nothing was heard for [`Limits::silence`].
    #[error("the peer has gone silent")]
    Silence,
    /// The peer has begun anew.
    #[error("the peer has begun a new session")]
    Anew,
    /// This node's role has changed.
    #[error("this node has changed its role")]
    Role,
}

/// Why a peer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Its datagrams don't authenticate.
    #[error(
        "the peer's datagrams don't authenticate: it has another cluster key, or somebody forges them; \
         put the same key file on both nodes"
    )]
    Key,
    /// It speaks another version of the protocol. Authenticated.
    #[error(
        "the peer speaks version {theirs} of the replication protocol, this node version {}; \
         install the same release on both nodes",
        seal::VERSION
    )]
    Version {
        /// The peer's version.
        theirs: u8,
    },
    /// Its tables are made differently. Authenticated.
    #[error("the peer's configuration differs: {0}")]
    Configuration(Difference),
}

/// Why something received was not taken. The labels are names of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Discard {
    /// No datagram of this protocol, or an authenticated one that makes no sense.
    Malformed,
    /// Longer than [`seal::MOST`].
    Oversized,
    /// The seal is not of the cluster key.
    Unauthentic,
    /// Its number was received before.
    Replayed,
    /// Its number is too far behind to tell whether it was received before.
    TooOld,
    /// Of a session that has ended or never began.
    OtherSession,
    /// Another version of the protocol.
    Version,
    /// Another configuration.
    Configuration,
    /// A greeting that is not awaited.
    Unexpected,
    /// The sender has given it up, and sends its slots again.
    Overtaken,
    /// It needs a roster that has not arrived yet.
    Roster,
    /// A slot that the table doesn't have.
    OutOfRange,
    /// A flow (not a datagram) of a backend or service that this node doesn't have.
    UnknownBackend,
    /// A flow (not a datagram) that was kept although the peer's table has something older
    /// there, just after a change of roles.
    Kept,
}

impl Discard {
    /// Every reason.
    pub const ALL: [Discard; 14] = [
        Discard::Malformed,
        Discard::Oversized,
        Discard::Unauthentic,
        Discard::Replayed,
        Discard::TooOld,
        Discard::OtherSession,
        Discard::Version,
        Discard::Configuration,
        Discard::Unexpected,
        Discard::Overtaken,
        Discard::Roster,
        Discard::OutOfRange,
        Discard::UnknownBackend,
        Discard::Kept,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Discard::Malformed => "malformed",
            Discard::Oversized => "oversized",
            Discard::Unauthentic => "unauthentic",
            Discard::Replayed => "replayed",
            Discard::TooOld => "too_old",
            Discard::OtherSession => "other_session",
            Discard::Version => "version",
            Discard::Configuration => "configuration",
            Discard::Unexpected => "unexpected",
            Discard::Overtaken => "overtaken",
            Discard::Roster => "roster",
            Discard::OutOfRange => "out_of_range",
            Discard::UnknownBackend => "unknown_backend",
            Discard::Kept => "kept",
        }
    }
}

/// How often each [`Discard`] happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([u64; Discard::ALL.len()]);

impl Counts {
    /// How often this one did.
    #[must_use]
    pub const fn of(&self, why: Discard) -> u64 {
        self.0[why as usize]
    }

    /// All of them with their labels.
    pub fn labelled(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Discard::ALL.iter().map(|why| (why.label(), self.of(*why)))
    }

    fn add_all(&mut self, others: &Counts) {
        for (count, others) in self.0.iter_mut().zip(others.0) {
            *count += others;
        }
    }

    fn add(&mut self, why: Discard) {
        self.0[why as usize] += 1;
    }
}

/// Tells each refusal once in ten seconds.
#[derive(Debug, Default)]
struct Refusals {
    told: [Option<u64>; 3],
}

impl Refusals {
    const EVERY: u64 = 10_000 * MILLISECOND;

    /// True when the refusal was told now, and not only counted.
    fn tell(&mut self, why: Refusal, now: Now, out: &mut Vec<Action>) -> bool {
        let told = &mut self.told[match why {
            Refusal::Key => 0,
            Refusal::Version { .. } => 1,
            Refusal::Configuration(_) => 2,
        }];
        if told.is_some_and(|at| now.ns < at + Self::EVERY) {
            return false;
        }
        *told = Some(now.ns);
        out.push(Action::Refused(why));
        true
    }
}
