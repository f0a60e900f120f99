//! The groups as the API shows them.

use std::{collections::BTreeMap, time::SystemTime};

use super::{Known, Vips, lock};
use crate::{
    api::vip::{
        ActiveView, ClashView, GroupState, GroupView, RefusedView, ReplicationRole,
        ReplicationView, TrafficView, TransitionView, VipStatus,
    },
    daemon::views::unix_seconds,
    replicate::{Role, Status, Traffic},
    vrrp::{GroupStatus, PacketError, State},
};

impl Vips {
    /// How the groups stand.
    pub(in crate::daemon) fn status(&self) -> VipStatus {
        let states = lock(&self.runner).as_ref().map(|runner| runner.status());
        let states = states.unwrap_or_default();
        let groups = self.groups.iter().zip(&states);
        let groups = groups.map(|(known, status)| group(known, status));
        VipStatus {
            groups: groups.collect(),
            replication: self
                .replicator
                .as_ref()
                .map(|one| replication(&one.status())),
        }
    }
}

fn group(known: &Known, status: &GroupStatus) -> GroupView {
    let discarded = PacketError::LABELS.iter().zip(status.discarded);
    GroupView {
        name: status.name.clone(),
        state: state(status.state),
        since: unix_seconds(status.since),
        reason: status.reason.to_string(),
        interface: status.interface.clone(),
        vrid: status.vrid,
        interval_ms: u64::from(known.config.interval.centiseconds()) * 10,
        priority: status.priority,
        configured_priority: status.configured_priority,
        tracked: known.burden.reasons.clone(),
        active: status
            .active
            .map(|(address, priority)| ActiveView { address, priority }),
        addresses: known.config.addresses().collect(),
        transitions: status.transitions,
        last_transitions: status
            .last_transitions
            .iter()
            .map(|one| TransitionView {
                at_ms: unix_millis(one.at),
                state: state(one.state),
                reason: one.reason.to_string(),
            })
            .collect(),
        sent: status.sent,
        received: status.received,
        discarded: happened(discarded.map(|(label, count)| (*label, count))),
        announced: status.announced,
        lateness_us: status.latest / 1_000,
        realtime: status.realtime,
        clashes: status
            .clashes
            .iter()
            .map(|seen| ClashView {
                at: unix_seconds(seen.at),
                peer: seen.from,
                clash: seen.clash.to_string(),
            })
            .collect(),
    }
}

fn state(state: State) -> GroupState {
    match state {
        State::Init => GroupState::Stopped,
        State::Standby => GroupState::Standby,
        State::Active => GroupState::Active,
        State::Fault => GroupState::Fault,
    }
}

fn replication(status: &Status) -> ReplicationView {
    let traffic = |traffic: Traffic| TrafficView {
        datagrams: traffic.datagrams,
        bytes: traffic.bytes,
    };
    ReplicationView {
        role: match status.role {
            Role::Off => ReplicationRole::Off,
            Role::Active => ReplicationRole::Active,
            Role::Standby => ReplicationRole::Standby,
        },
        peer: status.peer,
        connected: status.connected.map(unix_seconds),
        in_sync: status.in_sync,
        lag_ms: status.lag.map(|lag| lag.as_millis() as u64),
        flows_sent: status.slots_sent,
        flows_written: status.slots_written,
        sent: traffic(status.sent),
        received: traffic(status.received),
        discarded: happened(status.discarded.labelled()),
        refused: status.refused.map(|(refusal, at)| RefusedView {
            at: unix_seconds(at),
            reason: refusal.to_string(),
        }),
        trouble: status.trouble.map(|(error, at)| RefusedView {
            at: unix_seconds(at),
            reason: error.to_string(),
        }),
    }
}

/// What has happened, by its label.
fn happened(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    let happened = counts.filter(|(_, count)| *count > 0);
    happened
        .map(|(label, count)| (label.to_owned(), count))
        .collect()
}

fn unix_millis(at: SystemTime) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis() as u64
}
