//! What there is to know of replication from outside.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use rustix::io::Errno;

use super::{Counts, Ending, Refusal};

/// What a node does in replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing: what the peer sends is thrown away.
    Off,
    /// It holds the VIPs, and tells its tables.
    Active,
    /// Its tables follow the peer's.
    Standby,
}

/// What has happened. When a role ends, so do its session ([`Ending::Role`]) and being in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// On a standby: whether everything but the latest changes is here.
    InSync(bool),
    /// On an active node: whether everything but the latest changes is on the standby.
    StandbyInSync(bool),
    /// A session has begun.
    Connected,
    /// It has ended.
    Disconnected(Ending),
    /// The peer is refused. Told once in ten seconds for the same reason.
    Refused(Refusal),
}

/// Datagrams, by count and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// How many.
    pub datagrams: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.bytes += bytes as u64;
    }
}

/// How replication stands. Counts are since the start, over all roles and sessions.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// This node's role.
    pub role: Role,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Since when there is a session; `None` if there is none.
    pub connected: Option<SystemTime>,
    /// On a standby: it has everything but the latest changes. On an active node: its standby has.
    pub in_sync: bool,
    /// How old the moment is up to which the standby has everything, if that is known.
    pub lag: Option<Duration>,
    /// Slots told as active node, those that were told again included.
    pub slots_sent: u64,
    /// Slots written as standby.
    pub slots_written: u64,
    /// What was sent.
    pub sent: Traffic,
    /// What was received from the peer's address.
    pub received: Traffic,
    /// Datagrams that the kernel didn't take.
    pub unsent: u64,
    /// What was received and not taken, by reason.
    pub discarded: Counts,
    /// The last refusal, and when.
    pub refused: Option<(Refusal, SystemTime)>,
    /// How the last session ended, and when.
    pub ended: Option<(Ending, SystemTime)>,
    /// What the kernel last said against sending to or receiving from the peer, and when. (That nobody
    /// listens there isn't noted: the peer may be starting.)
    pub trouble: Option<(Errno, SystemTime)>,
}

impl Status {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Status {
            role: Role::Off,
            peer,
            connected: None,
            in_sync: false,
            lag: None,
            slots_sent: 0,
            slots_written: 0,
            sent: Traffic::default(),
            received: Traffic::default(),
            unsent: 0,
            discarded: Counts::default(),
            refused: None,
            ended: None,
            trouble: None,
        }
    }
}
