//! The rules between what a group says and the services, and between groups.

use std::net::IpAddr;

use crate::{
    config::{
        model::{Group, Service, Track, Tracked},
        refusal::{Refusal, alternatives, listed, quoted},
    },
    vrrp::Version,
};

/// What fits into a packet of 1,500 bytes, and into the count's byte.
const MOST_ADVERTISED: [usize; 2] = [255, 90];

/// Whether what is tracked exists.
pub(super) fn is_there(track: &Track, services: &[Service]) -> Result<(), Refusal> {
    let Tracked::Service { name, .. } = &track.what else {
        return Ok(());
    };
    let names = services.iter().map(|service| service.name.as_str());
    match services.iter().any(|service| service.name == *name) {
        true => Ok(()),
        false => Err(Refusal::new(
            format!("there is no service {} to track", quoted(name)),
            alternatives(name, names),
        )),
    }
}

/// Whether a group's VIPs are ones.
pub(super) fn balanced(own: Vec<IpAddr>, vips: &[IpAddr]) -> Result<Vec<IpAddr>, Refusal> {
    match own.iter().find(|vip| vips.binary_search(vip).is_err()) {
        None => Ok(own),
        Some(other) => Err(Refusal::new(
            format!("{other} is no service's VIP, nor in the pool of full-nat"),
            "write what is to be answered for beside VIPs into `gateways`",
        )),
    }
}

/// Whether what is to be listed in advertisements can be.
pub(super) fn advertised(
    group: &Group,
    list: Vec<IpAddr>,
    is_ipv6: bool,
) -> Result<Vec<IpAddr>, Refusal> {
    let version = if is_ipv6 { "IPv6" } else { "IPv4" };
    if list.is_empty() {
        return Err(Refusal::new(
            format!("the group advertises by {version}, and has no VIP of {version}"),
            "set `address` to one of the VIPs' IP version",
        ));
    }
    let most = MOST_ADVERTISED[usize::from(is_ipv6)];
    if list.len() > most {
        return Err(Refusal::new(
            format!(
                "these are {} VIPs, and an advertisement lists {most}",
                list.len()
            ),
            "list a few, on all nodes the same, in `advertise`; all VIPs of the group move nevertheless",
        ));
    }
    let stranger = list
        .iter()
        .find(|vip| !group.vips.contains(vip) || vip.is_ipv6() != is_ipv6);
    match stranger {
        None => Ok(list),
        Some(vip) => Err(Refusal::new(
            format!("{vip} is no VIP of the group, or not of its IP version"),
            format!("list VIPs of {version} that the group has"),
        )),
    }
}

/// Whether versions and addresses go together.
pub(super) fn versions(group: &Group) -> Result<(), Refusal> {
    let is_v2 = group.interval.version() == Version::V2;
    if is_v2 && group.is_ipv6() {
        return Err(Refusal::new(
            "VRRP version 2 knows no IPv6",
            "set version = 3, which other nodes of the group have to have too",
        ));
    }
    if group.checksum_as_v2 && (is_v2 || group.is_ipv6()) {
        return Err(Refusal::new(
            "`checksum_as_v2` is for version 3 over IPv4",
            "leave it out: there is one way of checksums here",
        ));
    }
    let nodes = group.address.iter().chain(&group.peers);
    match nodes
        .into_iter()
        .find(|node| node.is_ipv6() != group.is_ipv6())
    {
        None => Ok(()),
        Some(node) => Err(Refusal::new(
            format!("{node} isn't of the IP version of what is advertised"),
            "advertisements are sent from and to addresses of the VIPs' IP version",
        )),
    }
}

/// Whether two groups can be told apart.
pub(super) fn apart(group: &Group, other: &Group) -> Result<(), Refusal> {
    if group.name == other.name {
        return Err(Refusal::new(
            format!("there is a group {} already", quoted(&group.name)),
            "give this one another name",
        ));
    }
    let place = |group: &Group| (group.interface.clone(), group.vrid, group.is_ipv6());
    if place(group) == place(other) {
        return Err(Refusal::new(
            format!(
                "the groups {} have the same vrid on the same interface",
                listed([group.name.as_str(), other.name.as_str()])
            ),
            "give each a vrid of its own",
        ));
    }
    Ok(())
}
