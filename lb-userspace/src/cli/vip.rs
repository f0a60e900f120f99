//! `flowgate vip`: who holds the VIPs.

use std::{
    fmt::Write as _,
    net::IpAddr,
    time::{Duration, Instant},
};

use clap::Subcommand;
use serde::Serialize;

use super::{
    table::{Table, age},
    views::since,
};
use crate::api::{
    client::{Client, ClientError},
    vip::{FailoverReply, GroupState, GroupView, ReplicationRole, ReplicationView, VipStatus},
};

/// What `flowgate vip --help` ends with.
pub(super) const HELP: &str = "\
Examples:
  flowgate vip status              Which node holds the VIPs, since when and why
  sudo flowgate vip failover       Before maintenance: let the standby have them

After a hand-over this node takes the VIPs back only when the other one fails or
hands over in its turn.";

/// What to do with groups of VIPs.
#[derive(Debug, Subcommand)]
pub enum VipVerb {
    /// Show who holds the VIPs, and whether the standby knows the flows
    Status,
    /// Hand the VIPs over to the standby; established connections go on there
    Failover {
        /// The group; all that this node is active in when left out
        group: Option<String>,
    },
}

/// `flowgate vip status`.
pub(super) fn status(status: &VipStatus) -> String {
    if status.groups.is_empty() {
        return "This node is in no group: it holds its VIPs always.\n".to_owned();
    }
    let headings = [
        "GROUP",
        "STATE",
        "SINCE",
        "PRIORITY",
        "ACTIVE NODE",
        "INTERFACE",
        "VRID",
        "INTERVAL",
        "WHY",
    ];
    let mut table = Table::new(&headings, &[3, 6]);
    for group in &status.groups {
        table.row([
            group.name.clone(),
            state(group.state).to_owned(),
            age(since(group.since)),
            priority(group),
            active(group),
            group.interface.clone(),
            group.vrid.to_string(),
            format!("{} ms", group.interval_ms),
            group.reason.clone(),
        ]);
    }
    let mut text = table.text();
    for group in &status.groups {
        text.push_str(&details(group));
    }
    if let Some(one) = &status.replication {
        text.push_str(&replication(one));
    }
    text
}

fn state(state: GroupState) -> &'static str {
    match state {
        GroupState::Stopped => "stopped",
        GroupState::Standby => "standby",
        GroupState::Active => "active",
        GroupState::Fault => "fault",
    }
}

fn priority(group: &GroupView) -> String {
    match group.priority == group.configured_priority {
        true => group.priority.to_string(),
        false => format!("{} of {}", group.priority, group.configured_priority),
    }
}

fn active(group: &GroupView) -> String {
    match (&group.active, group.state) {
        (_, GroupState::Active) => "this one".to_owned(),
        (Some(active), _) => format!("{} ({})", active.address, active.priority),
        (None, _) => "none heard".to_owned(),
    }
}

// Writing to a string can't fail.
fn details(group: &GroupView) -> String {
    const SHOWN: usize = 8;
    let mut text = format!("\n{}:\n", group.name);
    let addresses = group.addresses.iter().take(SHOWN).map(ToString::to_string);
    let addresses: Vec<_> = addresses.collect();
    let more = match group.addresses.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let _ = writeln!(text, "  addresses       {}{more}", addresses.join(", "));
    let _ = writeln!(
        text,
        "  advertisements  {} sent, at most {:.1} ms late{}; {} received",
        group.sent,
        group.lateness_us as f64 / 1_000.0,
        match group.realtime {
            true => "",
            false => " (without real-time priority: it takes CAP_SYS_NICE)",
        },
        group.received,
    );
    if !group.discarded.is_empty() {
        let _ = writeln!(text, "  discarded       {}", counts(&group.discarded));
    }
    for reason in &group.tracked {
        let _ = writeln!(text, "  tracked         {reason}");
    }
    for clash in &group.clashes {
        let clash = format!("{}: {}", clash.peer, clash.clash);
        let _ = writeln!(text, "  clash           {clash}");
    }
    for (place, one) in group.last_transitions.iter().enumerate() {
        let label = if place == 0 { "transitions" } else { "" };
        let _ = writeln!(
            text,
            "  {label:<14}  {} ago: {}, {}",
            age(since(one.at_ms / 1_000)),
            state(one.state),
            one.reason
        );
    }
    text
}

fn replication(one: &ReplicationView) -> String {
    let session = match (one.connected, one.role) {
        (Some(at), _) => format!("connected for {}", age(since(at))),
        (None, ReplicationRole::Off) => "off".to_owned(),
        (None, _) => "not connected".to_owned(),
    };
    let lag = match one.lag_ms {
        Some(lag) => format!("{lag} ms behind"),
        None => "lag unknown".to_owned(),
    };
    let sync = match (one.role, one.in_sync) {
        (ReplicationRole::Off, _) => "no role".to_owned(),
        (ReplicationRole::Active, true) => format!("the standby is in sync, {lag}"),
        (ReplicationRole::Active, false) => format!("the standby is not in sync, {lag}"),
        (ReplicationRole::Standby, true) => format!("in sync, {lag}"),
        (ReplicationRole::Standby, false) => format!("not in sync, {lag}"),
    };
    let mut text = format!(
        "\nreplication with {}: {session}; {sync}\n  flows           {} sent, {} taken over\n  \
         datagrams       {} sent ({} bytes), {} received ({} bytes)\n",
        one.peer,
        one.flows_sent,
        one.flows_written,
        one.sent.datagrams,
        one.sent.bytes,
        one.received.datagrams,
        one.received.bytes,
    );
    if !one.discarded.is_empty() {
        let _ = writeln!(text, "  discarded       {}", counts(&one.discarded));
    }
    for (label, what) in [("refused", &one.refused), ("trouble", &one.trouble)] {
        if let Some(what) = what {
            let _ = writeln!(
                text,
                "  {label:<14}  {} ago: {}",
                age(since(what.at)),
                what.reason
            );
        }
    }
    text
}

fn counts(counts: &std::collections::BTreeMap<String, u64>) -> String {
    let counts = counts
        .iter()
        .map(|(label, count)| format!("{label} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// From one look at a hand-over to the next.
const LOOK: Duration = Duration::from_millis(5);
/// A hand-over takes one and a half intervals at most; then the node has them again.
const INTERVALS: u64 = 4;

/// A hand-over that is done.
#[derive(Debug, Serialize)]
pub(super) struct HandedOver {
    groups: Vec<Successor>,
}

/// Who has a group's addresses now.
#[derive(Debug, Serialize)]
struct Successor {
    group: String,
    to: IpAddr,
}

impl HandedOver {
    pub(super) fn text(&self) -> String {
        let line = |one: &Successor| format!("{}: handed over to {}\n", one.group, one.to);
        self.groups.iter().map(line).collect()
    }
}

/// Who has a group's addresses, if it isn't this node and is heard.
fn successor(group: &GroupView) -> Option<Successor> {
    let active = group.active.as_ref()?;
    (group.state != GroupState::Active).then(|| Successor {
        group: group.name.clone(),
        to: active.address,
    })
}

/// Waits for the end of a hand-over; an error and its way out if nobody took over.
pub(super) async fn handed_over(
    client: &Client,
    begun: &FailoverReply,
) -> Result<Result<HandedOver, (String, String)>, ClientError> {
    let start = Instant::now();
    loop {
        let status = client.vip().await?;
        let ours = || {
            status
                .groups
                .iter()
                .filter(|group| begun.groups.contains(&group.name))
        };
        if let Some(groups) = ours().map(successor).collect() {
            return Ok(Ok(HandedOver { groups }));
        }
        let longest = ours().map(|group| group.interval_ms).max().unwrap_or(0);
        if start.elapsed() > Duration::from_millis(longest * INTERVALS) + LOOK {
            let left = ours().filter(|group| successor(group).is_none());
            let left: Vec<_> = left.map(|group| group.name.as_str()).collect();
            return Ok(Err((
                match ours().any(|group| group.state == GroupState::Active) {
                    true => format!("no standby took {} over: this node keeps it", left.join(", ")),
                    false => format!("nobody is heard to be active in {}", left.join(", ")),
                },
                "does the other node run, and is it in the same group? Its `flowgate vip status` tells".to_owned(),
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}
