//! The state machine of whichever role this node has.

use super::{Action, Counts, Now, Receiver, Role, Roster, Sender, Tables};

/// A role at work.
pub(super) enum Side {
    Off,
    Active(Box<Sender>),
    Standby(Box<Receiver>),
}

/// How far it has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) is_connected: bool,
    pub(super) in_sync: bool,
    /// Nanoseconds.
    pub(super) lag: Option<u64>,
    /// Slots told, and slots written, in all sessions of this side.
    pub(super) slots: [u64; 2],
    pub(super) discarded: Counts,
}

/// Until when there is nothing to do unless something is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Never,
    At(u64),
}

impl Side {
    pub(super) fn role(&self) -> Role {
        match self {
            Side::Off => Role::Off,
            Side::Active(_) => Role::Active,
            Side::Standby(_) => Role::Standby,
        }
    }

    pub(super) fn datagram(
        &mut self,
        datagram: &[u8],
        now: Now,
        tables: &Tables<'_>,
        out: &mut Vec<Action>,
    ) {
        match self {
            Side::Off => {}
            Side::Active(sender) => sender.datagram(datagram, now, tables, out),
            Side::Standby(receiver) => receiver.datagram(datagram, now, tables, out),
        }
    }

    pub(super) fn poll(&mut self, now: Now, tables: &Tables<'_>, out: &mut Vec<Action>) {
        match self {
            Side::Off => {}
            Side::Active(sender) => sender.poll(now, tables, out),
            Side::Standby(receiver) => receiver.poll(now, out),
        }
    }

    pub(super) fn stop(&mut self, out: &mut Vec<Action>) {
        match self {
            Side::Off => {}
            Side::Active(sender) => sender.stop(out),
            Side::Standby(receiver) => receiver.stop(out),
        }
    }

    pub(super) fn set_roster(&mut self, roster: Roster) {
        match self {
            Side::Off => {}
            Side::Active(sender) => sender.set_roster(roster),
            Side::Standby(receiver) => receiver.set_roster(roster),
        }
    }

    pub(super) fn hurry(&mut self, now: Now) {
        match self {
            Side::Off | Side::Standby(_) => {}
            Side::Active(sender) => sender.hurry(now),
        }
    }

    pub(super) fn due(&self) -> Due {
        match self {
            Side::Off => Due::Never,
            Side::Active(sender) => sender.due().map_or(Due::Never, Due::At),
            Side::Standby(receiver) => Due::At(receiver.due()),
        }
    }

    pub(super) fn progress(&self, now: Now) -> Progress {
        match self {
            Side::Off => Progress::default(),
            Side::Active(sender) => {
                let status = sender.status(now);
                Progress {
                    is_connected: status.is_connected,
                    in_sync: status.in_sync,
                    lag: status.lag,
                    slots: [status.sent, 0],
                    discarded: *sender.counts(),
                }
            }
            Side::Standby(receiver) => {
                let status = receiver.status(now);
                Progress {
                    is_connected: status.is_connected,
                    in_sync: status.in_sync,
                    lag: status.lag,
                    slots: [0, status.written],
                    discarded: *receiver.counts(),
                }
            }
        }
    }
}
