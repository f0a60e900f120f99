//! What goes into the state machine and what comes out.

use std::{fmt, net::IpAddr, num::NonZeroU8};

use super::{Interval, Nanos};

/// A group's part in the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often this node advertises when active, and the version of VRRP.
    pub interval: Interval,
    /// 255: owner of the addresses.
    pub priority: NonZeroU8,
    /// The address that this node's advertisements come from: decides between equal
    /// priorities.
    pub address: IpAddr,
    /// Whether to take over from an active node of lower priority.
    pub preempt: bool,
    /// How long to leave such a node active from when it could first be preempted.
    pub preempt_delay: Nanos,
    /// How many times the VIPs are announced after a take-over or a conflict.
    pub announcements: u32,
    /// The time between two announcements.
    pub announce_every: Nanos,
}

/// What a node is to its group (RFC 9568 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Not started, or stopped.
    Init,
    /// Listens; takes over when the active node is silent.
    Standby,
    /// Advertises; holds the VIPs while its lease lasts.
    Active,
    /// Can't serve, and takes no part.
    Fault,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Take part.
    Start,
    /// Leave, orderly: the active node stays until a standby has shown itself, or
    /// none has. It has left when it [becomes](Action::Become) [`State::Init`].
    Stop,
    /// An advertisement of another node of the group.
    Advert(Heard),
    /// The time that was [set](Action::SetTimer) has come. Hand over before what had
    /// been received by then: a process that was stopped may find the timer overdue
    /// and the active node's advertisements waiting.
    Timer,
    /// What was to be [sent](Action::Send) has been handed to the network.
    Sent,
    /// It couldn't be, to none of the peers, for a reason on this side of the wire.
    /// (That a peer is unreachable is no reason: clients may not be.)
    SendFailed,
    /// What is tracked has changed.
    Track {
        /// What to take off the priority, which stays at least 1. An owner's stays 255.
        penalty: u8,
        /// This node can't serve.
        fault: bool,
    },
    /// Whether this node knows the active one's flows, or needn't; until told it doesn't.
    InSync(bool),
    /// Let a standby take over, and don't take over from it but when it fails or resigns.
    HandOver,
    /// The interface has come up or gone down; until told it is up.
    Link(bool),
    /// The configuration has changed, but not version or address, which take a restart.
    Reconfigure(Settings),
}

/// An advertisement as the state machine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub from: IpAddr,
    /// Its priority; 0: it resigns.
    pub priority: u8,
    /// Its interval, of the group's version.
    pub interval: Interval,
    /// Whether its virtual addresses are the configured ones, in any order.
    pub same_addresses: bool,
}

/// What to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send an advertisement with this priority to the group or all peers; then tell
    /// by [`Event::Sent`] or [`Event::SendFailed`].
    Send {
        /// 0: resigns.
        priority: u8,
    },
    /// The state has changed, or the reason for it.
    Become(State, Reason),
    /// Send one gratuitous ARP or unsolicited neighbour advertisement for each VIP, unless the
    /// deadline has passed by then: this process may just have been stopped.
    Announce,
    /// Hold the VIPs until then, on the clock of [`Machine::on`](super::Machine::on);
    /// also if that is sooner than before.
    HoldUntil(Nanos),
    /// Hold the VIPs no longer.
    Release,
    /// Wake the machine then by [`Event::Timer`], instead of when it was set before;
    /// `None`: not at all.
    SetTimer(Option<Nanos>),
    /// A peer is configured otherwise: name it.
    Clash(IpAddr, Clash),
}

/// How a peer's configuration doesn't go with ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Clash {
    /// Version 2 takes no advertisement with another interval (RFC 3768 section 7.1).
    #[error(
        "it advertises every {theirs}, we every {ours}; VRRP version 2 ignores such a peer, so both may be active: set the same interval on both"
    )]
    Interval {
        /// The peer's.
        theirs: Interval,
        /// Ours.
        ours: Interval,
    },
    /// Other virtual addresses. Version 2 ignores such an advertisement unless an owner sent it (RFC 3768
    /// section 7.1), version 3 goes by it nevertheless (RFC 9568 section 7.1).
    #[error("its virtual addresses aren't ours: configure the same on both")]
    Addresses,
    /// Two owners; the address decides between them.
    #[error("both nodes have priority 255: only the owner of the addresses may")]
    Owners,
    /// It sends from our address; ignored.
    #[error("it sends from this node's own address: give each node its own")]
    OwnAddress,
}

/// Why a state was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was started.
    Started,
    /// It was stopped.
    Stopped,
    /// Started, as owner of the addresses.
    Owner,
    /// No advertisement for longer than the active node may be silent.
    Silence,
    /// The active node has resigned.
    Resigned,
    /// The active node has a lower priority, and this node may preempt it.
    Preempted,
    /// Another active node has a higher priority, or an equal one and a higher address.
    Outranked {
        /// Who.
        by: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// This node didn't run, or couldn't send, for longer than its lease.
    LeaseRanOut,
    /// The first advertisement couldn't be sent.
    SendFailed,
    /// Handed over by command.
    HandedOver {
        /// The node that is active now.
        to: IpAddr,
    },
    /// No standby took over when the VIPs were to be handed over.
    NobodyTookOver,
    /// The interface went down.
    LinkDown,
    /// What is tracked says that this node can't serve.
    TrackedFault,
    /// It can serve again.
    Recovered,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "stopped",
            Self::Standby => "standby",
            Self::Active => "active",
            Self::Fault => "fault",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Stopped => f.write_str("stopped"),
            Self::Owner => f.write_str("started as the owner of the addresses"),
            Self::Silence => f.write_str("no advertisement from an active node"),
            Self::Resigned => f.write_str("the active node resigned"),
            Self::Preempted => f.write_str("the active node's priority is lower"),
            Self::Outranked { by, priority } => {
                write!(f, "{by} is active and goes before (priority {priority})")
            }
            Self::LeaseRanOut => f.write_str("its lease ran out: it didn't run or couldn't send"),
            Self::SendFailed => f.write_str("its first advertisement couldn't be sent"),
            Self::HandedOver { to } => write!(f, "handed over to {to}"),
            Self::NobodyTookOver => f.write_str("no standby took over"),
            Self::LinkDown => f.write_str("the interface is down"),
            Self::TrackedFault => f.write_str("it can't serve, by what it tracks"),
            Self::Recovered => f.write_str("it can serve again"),
        }
    }
}
