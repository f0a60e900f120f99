//! What the groups are doing, for whoever asks.

use std::{net::IpAddr, time::SystemTime};

use super::{Clash, Nanos, PacketError, Reason, State};

/// How many transitions and clashes are kept.
pub const KEPT: usize = 8;

/// A group, at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group's name.
    pub name: String,
    /// Where its advertisements go.
    pub interface: String,
    /// Its virtual router, 1 to 255.
    pub vrid: u8,
    /// What this node is to it.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// Why.
    pub reason: Reason,
    /// This node's priority after what is tracked, 1 to 255.
    pub priority: u8,
    /// Its priority as configured, 1 to 255.
    pub configured_priority: u8,
    /// The active node that was last heard, and its priority. None: this node is active, or
    /// there is none.
    pub active: Option<(IpAddr, u8)>,
    /// How often the state has changed.
    pub transitions: u64,
    /// The last of them, at most eight, newest first.
    pub last_transitions: Vec<Transition>,
    /// Advertisements sent.
    pub sent: u64,
    /// Advertisements received that were in order.
    pub received: u64,
    /// Packets that weren't, in the order of [`PacketError::LABELS`].
    pub discarded: [u64; PacketError::LABELS.len()],
    /// Gratuitous ARP requests and unsolicited neighbour advertisements sent.
    pub announced: u64,
    /// By how much the active node was late at worst when it had something to send, in nanoseconds.
    pub latest: Nanos,
    /// Whether the thread that serves it has real-time priority.
    pub realtime: bool,
    /// Peers that are configured otherwise, at most eight, last seen first.
    pub clashes: Vec<SeenClash>,
}

/// The state has changed, or the reason for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: SystemTime,
    /// To what.
    pub state: State,
    /// Why.
    pub reason: Reason,
}

/// A peer that is configured otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenClash {
    /// When it was last seen.
    pub at: SystemTime,
    /// Who.
    pub from: IpAddr,
    /// How.
    pub clash: Clash,
}

/// The last few of something, newest first.
#[derive(Debug, Clone, Copy)]
pub struct Recent<T>([Option<T>; KEPT]);

impl<T: Copy> Recent<T> {
    pub fn new() -> Self {
        Self([None; KEPT])
    }

    /// Puts one in front; the one that it is the `same` as goes, else the oldest.
    pub fn push(&mut self, new: T, same: impl Fn(&T) -> bool) {
        let place = self
            .0
            .iter()
            .position(|old| old.as_ref().is_some_and(&same));
        self.0[..=place.unwrap_or(KEPT - 1)].rotate_right(1);
        self.0[0] = Some(new);
    }

    fn to_vec(self) -> Vec<T> {
        self.0.into_iter().flatten().collect()
    }
}

/// What changes in a [`GroupStatus`]; copied whole.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    pub state: State,
    pub since: SystemTime,
    pub reason: Reason,
    pub priority: u8,
    pub configured_priority: u8,
    pub active: Option<(IpAddr, u8)>,
    pub transitions: u64,
    pub last_transitions: Recent<Transition>,
    pub sent: u64,
    pub received: u64,
    pub discarded: [u64; PacketError::LABELS.len()],
    pub announced: u64,
    pub latest: Nanos,
    pub clashes: Recent<SeenClash>,
}

impl Live {
    pub fn new(priority: u8) -> Self {
        Self {
            state: State::Init,
            since: SystemTime::now(),
            reason: Reason::Stopped,
            priority,
            configured_priority: priority,
            active: None,
            transitions: 0,
            last_transitions: Recent::new(),
            sent: 0,
            received: 0,
            discarded: [0; PacketError::LABELS.len()],
            announced: 0,
            latest: 0,
            clashes: Recent::new(),
        }
    }

    pub fn became(&mut self, state: State, reason: Reason) {
        let at = SystemTime::now();
        if self.state != state {
            self.since = at;
            self.transitions += 1;
        }
        if state != State::Standby || reason == Reason::LeaseRanOut {
            self.active = None;
        }
        (self.state, self.reason) = (state, reason);
        let transition = Transition { at, state, reason };
        self.last_transitions.push(transition, |_| false);
    }

    pub fn clashed(&mut self, from: IpAddr, clash: Clash) {
        let at = SystemTime::now();
        let kind = std::mem::discriminant(&clash);
        let same = |old: &SeenClash| old.from == from && std::mem::discriminant(&old.clash) == kind;
        self.clashes.push(SeenClash { at, from, clash }, same);
    }
}

/// What doesn't change in a [`GroupStatus`].
#[derive(Debug, Clone)]
pub struct Identity {
    pub name: String,
    pub interface: String,
    pub vrid: u8,
}

impl Identity {
    pub fn status(&self, live: &Live, realtime: bool) -> GroupStatus {
        GroupStatus {
            name: self.name.clone(),
            interface: self.interface.clone(),
            vrid: self.vrid,
            state: live.state,
            since: live.since,
            reason: live.reason,
            priority: live.priority,
            configured_priority: live.configured_priority,
            active: live.active,
            transitions: live.transitions,
            last_transitions: live.last_transitions.to_vec(),
            sent: live.sent,
            received: live.received,
            discarded: live.discarded,
            announced: live.announced,
            latest: live.latest,
            realtime,
            clashes: live.clashes.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stand_first_and_the_same_once() {
        let mut recent = Recent::new();
        for n in 0..10 {
            recent.push(n, |_| false);
        }
        assert_eq!(recent.to_vec(), [9, 8, 7, 6, 5, 4, 3, 2]);
        recent.push(5, |&old| old == 5);
        assert_eq!(recent.to_vec(), [5, 9, 8, 7, 6, 4, 3, 2]);
    }
}
