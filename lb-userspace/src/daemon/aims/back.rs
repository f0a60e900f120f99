//! The way back to clients: routes and on-link neighbours.

use std::net::IpAddr;

use lb_common::{
    abi::{self, Hop, Route, Route6},
    limits,
};

use super::{Port, way};
use crate::{
    net::{self, Family, NetState, Prefix},
    plan,
};

/// The links by which frames leave through our interfaces: those, and VLANs on them.
pub(in crate::daemon) fn links(net: &NetState, ports: &[Port]) -> Vec<u32> {
    net.links()
        .filter(|link| {
            net.link_path(link.ifindex)
                .is_ok_and(|path| ports.iter().any(|port| port.ifindex == path.port))
        })
        .map(|link| link.ifindex)
        .collect()
}

/// The routers on the way back.
pub(super) fn routers(family: Family, net: &NetState, ports: &[Port]) -> Vec<IpAddr> {
    net.routes(family, &links(net, ports))
        .filter_map(|(_, route)| route.gateway)
        .collect()
}

/// The routes to IPv4 clients, by any interface, most specific first: those that we can't
/// follow are there too, since a less specific one must not be taken for them.
pub(super) fn routes(net: &NetState, ports: &[Port]) -> Vec<Route> {
    all(Family::V4, net, ports)
        .into_iter()
        .map(|(prefix, kind, hop)| Route {
            prefix: plan::words(prefix.network).1[0],
            mask: mask(prefix)[0],
            kind,
            reserved: 0,
            hop,
        })
        .collect()
}

/// Those to IPv6 clients.
pub(super) fn routes6(net: &NetState, ports: &[Port]) -> Vec<Route6> {
    all(Family::V6, net, ports)
        .into_iter()
        .map(|(prefix, kind, hop)| Route6 {
            prefix: plan::words(prefix.network).1,
            mask: mask(prefix),
            kind,
            reserved: 0,
            hop,
        })
        .collect()
}

fn all(family: Family, net: &NetState, ports: &[Port]) -> Vec<(Prefix, u32, Hop)> {
    let links: Vec<u32> = net.links().map(|link| link.ifindex).collect();
    net.routes(family, &links)
        .filter(|(prefix, _)| !is_local_only(prefix))
        .take(limits::MAX_ROUTES as usize)
        .map(|(prefix, route)| {
            let (kind, hop) = follow(net, ports, &route);
            (prefix, kind, hop)
        })
        .collect()
}

/// Link-local prefixes, of which each link has one, multicast and loopback: clients that
/// we answer come from elsewhere.
fn is_local_only(prefix: &Prefix) -> bool {
    match prefix.network {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast() || v6.is_loopback(),
    }
}

fn follow(net: &NetState, ports: &[Port], route: &net::Route) -> (u32, Hop) {
    let kernel = (Route::KERNEL, Hop::NONE);
    let is_ours = net
        .link_path(route.ifindex)
        .is_ok_and(|path| ports.iter().any(|port| port.ifindex == path.port));
    if !is_ours {
        return kernel;
    }
    let Some(gateway) = route.gateway else {
        return (Route::ON_LINK, Hop::NONE);
    };
    let hop = net.hop_by(route, gateway).ok();
    hop.and_then(|hop| way::to(&hop, ports))
        .map_or(kernel, |hop| (Route::VIA, hop))
}

/// On-link clients.
pub(super) fn neighbours(family: Family, net: &NetState, ports: &[Port]) -> Vec<(IpAddr, Hop)> {
    net.neighbours(family, &links(net, ports))
        .filter_map(|(ifindex, ip, _)| {
            let route = net.route(ip)?;
            let is_on_link = route.ifindex == ifindex && route.gateway.is_none();
            let hop = is_on_link.then(|| net.hop_by(&route, ip).ok()).flatten()?;
            Some((ip, way::to(&hop, ports)?))
        })
        .take(limits::MAX_NEIGHBOURS as usize)
        .collect()
}

/// A prefix's mask as an address lies in a packet.
fn mask(prefix: Prefix) -> abi::Address {
    let family = prefix.family();
    let ones = way::host_mask(family, 0);
    let host = way::host_mask(family, prefix.length);
    std::array::from_fn(|word| ones[word] & !host[word])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_lie_as_in_a_packet() {
        let of = |network: &str, length| {
            let prefix = Prefix::of(network.parse().unwrap(), length);
            plan::ip(
                match prefix.family() {
                    Family::V4 => abi::Family::V4,
                    Family::V6 => abi::Family::V6,
                },
                mask(prefix),
            )
            .to_string()
        };
        assert_eq!(of("10.0.0.0", 0), "0.0.0.0");
        assert_eq!(of("10.0.0.0", 8), "255.0.0.0");
        assert_eq!(of("10.0.0.0", 31), "255.255.255.254");
        assert_eq!(of("10.0.0.0", 32), "255.255.255.255");
        assert_eq!(of("2001:db8::", 0), "::");
        assert_eq!(of("2001:db8::", 33), "ffff:ffff:8000::");
        assert_eq!(
            of("2001:db8::1", 128),
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        );
    }
}
