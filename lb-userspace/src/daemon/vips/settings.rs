//! What the configuration and the network make of a group: pure.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use thiserror::Error;

use crate::{
    config::model::{Config, Group, Track, Tracked},
    daemon::aims::{Port, links},
    net::{Family, NetState},
    vrrp::{Addresses, Announced, Convention, Nanos, Settings},
};

/// Why a group can't begin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unready {
    /// There is no such interface.
    #[error("group `{group}`: there is no interface {interface}; `ip -brief link` lists them")]
    Interface {
        /// The group.
        group: String,
        /// The interface.
        interface: String,
    },
    /// It has no address of the group's IP version, or none yet.
    #[error(
        "group `{group}`: {interface} has no {family} address to advertise from; add one, or name the node's own: address = \"…\""
    )]
    NoAddress {
        /// The group.
        group: String,
        /// The interface.
        interface: String,
        /// The IP version.
        family: Family,
    },
    /// The address is not this node's.
    #[error(
        "group `{group}`: {address} is not this node's: `address` is where its advertisements come from"
    )]
    Strange {
        /// The group.
        group: String,
        /// The address.
        address: IpAddr,
    },
}

/// The interface that a group's advertisements leave by, and the address that they come from.
///
/// # Errors
/// When there is no such thing, or not yet.
pub fn place(group: &Group, net: &NetState) -> Result<(u32, IpAddr), Unready> {
    let named = || group.name.clone();
    let link = net.link_by_name(&group.interface);
    let link = link.ok_or_else(|| Unready::Interface {
        group: named(),
        interface: group.interface.clone(),
    })?;
    if let Some(address) = group.address {
        return match net.is_local(address) {
            true => Ok((link.ifindex, address)),
            false => Err(Unready::Strange {
                group: named(),
                address,
            }),
        };
    }
    let family = match group.is_ipv6() {
        true => Family::V6,
        false => Family::V4,
    };
    match net.own_address(link.ifindex, family) {
        Some(address) => Ok((link.ifindex, address)),
        None => Err(Unready::NoAddress {
            group: named(),
            interface: group.interface.clone(),
            family,
        }),
    }
}

/// A group's part in the protocol.
#[must_use]
pub fn settings(group: &Group, address: IpAddr) -> Settings {
    Settings {
        interval: group.interval,
        priority: group.priority,
        address,
        preempt: group.preempt,
        preempt_delay: nanos(group.preempt_delay),
        announcements: group.announcements,
        announce_every: nanos(group.announce_interval),
    }
}

/// How the group's checksums are made.
#[must_use]
pub fn convention(group: &Group) -> Convention {
    match group.checksum_as_v2 {
        true => Convention::AsV2,
        false => Convention::PseudoHeader,
    }
}

/// The addresses of a group, and where they are announced: on each of our links whose
/// network has the address, or, where none has it, on the group's own interface.
#[must_use]
pub fn addresses(group: &Group, net: &NetState, ports: &[Port]) -> Addresses {
    let ours: BTreeSet<u32> = links(net, ports).into_iter().collect();
    let own = net.link_by_name(&group.interface).map(|link| link.ifindex);
    let mut announced = Vec::new();
    for address in group.addresses() {
        let near = net.links_near(address).map(|link| link.ifindex);
        let mut near: Vec<u32> = near.filter(|link| ours.contains(link)).collect();
        near.sort_unstable();
        near.dedup();
        if near.is_empty() {
            near.extend(own);
        }
        announced.extend(
            near.into_iter()
                .map(|ifindex| Announced { address, ifindex }),
        );
    }
    Addresses {
        advertised: group.advertise.clone(),
        announced,
    }
}

/// Whether the group's interface carries anything.
#[must_use]
pub fn is_up(group: &Group, net: &NetState) -> bool {
    is_link_up(&group.interface, net)
}

fn is_link_up(interface: &str, net: &NetState) -> bool {
    let link = net.link_by_name(interface);
    link.is_some_and(|link| link.up && link.carrier)
}

/// What tracking makes of a group: what comes off its priority, whether the node can't serve at
/// all, and why, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Burden {
    /// What comes off the priority.
    pub penalty: u8,
    /// It can't serve.
    pub fault: bool,
    /// Everything that isn't well.
    pub reasons: Vec<String>,
}

/// What tracking makes of a group. `active` tells how many backends of a service take new
/// connections.
#[must_use]
pub fn burden(group: &Group, net: &NetState, active: impl Fn(&str) -> usize) -> Burden {
    let mut burden = Burden::default();
    for Track { what, penalty } in &group.track {
        let reason = match what {
            Tracked::Interface(name) if !is_link_up(name, net) => format!("{name} is down"),
            Tracked::Service { name, backends } if active(name) < *backends as usize => {
                format!("service {name} has {} of {backends} backends", active(name))
            }
            _ => continue,
        };
        burden.reasons.push(reason);
        match penalty {
            Some(penalty) => burden.penalty = burden.penalty.saturating_add(penalty.get()),
            None => burden.fault = true,
        }
    }
    burden
}

/// The numbers of all groups' addresses in the data plane.
pub fn numbers(config: &Config) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
    let groups = config.numbered_groups();
    groups.flat_map(|(number, group)| group.addresses().map(move |address| (address, number)))
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
