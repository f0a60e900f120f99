//! What the maps should hold: what is desired, as far as health and network allow.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
};

use lb_common::{
    abi::{self, BackendState, Hop, Route},
    limits,
    wheel::Index,
};

use crate::{
    config::model::{AdminState, Backend, Config, Forward, Scheduler, Service},
    health::{Health, TargetId},
    net::{self, NetState},
    plan::{ServiceKey, Target, TargetBackend, TargetService},
};

/// An interface that we forward by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its number in the kernel; 0 while it isn't there.
    pub ifindex: u32,
    /// Its place in the device map.
    pub egress: u32,
}

/// How a backend is reached, or why it can't be.
pub type Way = Result<net::Hop, String>;

/// Ways by backend.
pub type Ways = HashMap<TargetId, Way>;

/// What the maps should hold, and the way to each backend.
#[must_use]
pub fn aims(
    config: &Config,
    health: &HashMap<TargetId, Health>,
    net: &NetState,
    ports: &[Port],
) -> (Target, Ways) {
    let mut target = Target::default();
    let mut ways = Ways::new();
    for service in &config.services {
        let Some(key) = key(service) else { continue };
        let mut backends = Vec::with_capacity(service.backends.len());
        for backend in &service.backends {
            let IpAddr::V4(address) = backend.address else {
                continue;
            };
            let id = id(service, backend);
            let way = way(service, address, net, ports);
            let state = state(backend.admin, health.get(&id));
            let hop = way.as_ref().ok().and_then(|hop| record(hop, ports));
            let wanted = TargetBackend {
                weight: backend.weight,
                state,
                hop,
            };
            backends.push((SocketAddrV4::new(address, backend.port), wanted));
            ways.insert(id, way);
        }
        let wanted = TargetService {
            index: match service.scheduler {
                Scheduler::RoundRobin | Scheduler::WeightedRoundRobin => Index::Counter,
            },
            forward: match service.forward {
                Forward::Dsr => abi::Forward::Dsr,
                Forward::Nat => abi::Forward::Nat,
            },
            backends,
        };
        target.services.insert(key, wanted);
    }
    if has_nat(config) {
        target.routes = routes(net, ports);
        target.neighbours = neighbours(net, ports);
    }
    (target, ways)
}

/// Addresses whose next hops must be known: backends, and for `nat` the routers on the
/// way back to clients.
#[must_use]
pub fn wanted_hops(config: &Config, net: &NetState, ports: &[Port]) -> Vec<IpAddr> {
    let backends = config.services.iter().flat_map(|service| &service.backends);
    let mut wanted: Vec<IpAddr> = backends.map(|backend| backend.address).collect();
    if has_nat(config) {
        let ifindexes: Vec<u32> = ports.iter().map(|port| port.ifindex).collect();
        wanted.extend(
            net.routes(net::Family::V4, &ifindexes)
                .filter_map(|(_, route)| route.gateway),
        );
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// What tells a backend apart in health and status.
#[must_use]
pub fn id(service: &Service, backend: &Backend) -> TargetId {
    TargetId {
        service: service.name.clone(),
        backend: backend.name.clone(),
    }
}

/// A service's key in the maps; `None` for what the data plane can't do.
#[must_use]
pub fn key(service: &Service) -> Option<ServiceKey> {
    let IpAddr::V4(vip) = service.vip else {
        return None;
    };
    Some(ServiceKey {
        vip,
        port: service.port,
        protocol: service.protocol,
    })
}

/// Whether any service translates addresses.
#[must_use]
pub fn has_nat(config: &Config) -> bool {
    config
        .services
        .iter()
        .any(|service| service.forward == Forward::Nat)
}

/// A backend is down unless it is healthy; whether it then takes new connections is the
/// operator's word. Without a check it is taken for healthy.
fn state(admin: AdminState, health: Option<&Health>) -> BackendState {
    match (health.unwrap_or(&Health::Healthy), admin) {
        (Health::Checking | Health::Failed, _) => BackendState::Down,
        (Health::Healthy, AdminState::Draining) => BackendState::Draining,
        (Health::Healthy, AdminState::Enabled) => BackendState::Active,
    }
}

fn way(service: &Service, address: Ipv4Addr, net: &NetState, ports: &[Port]) -> Way {
    let hop = net.hop(address.into()).map_err(|no| no.to_string())?;
    if service.forward == Forward::Dsr && !hop.onlink {
        return Err(format!(
            "behind the router {}: dsr needs the backend on the same link; use nat",
            hop.via
        ));
    }
    if ports.iter().any(|port| port.ifindex == hop.ifindex) {
        return Ok(hop);
    }
    let name = net
        .link(hop.ifindex)
        .map_or("another interface", |link| link.name.as_str());
    Err(format!(
        "reached by {name}, which is not in [node] interfaces"
    ))
}

fn record(hop: &net::Hop, ports: &[Port]) -> Option<Hop> {
    to(hop.ifindex, hop.destination_mac, hop.source_mac, ports)
}

fn to(ifindex: u32, destination: abi::Mac, source: abi::Mac, ports: &[Port]) -> Option<Hop> {
    let port = ports.iter().find(|port| port.ifindex == ifindex)?;
    Some(Hop {
        ifindex,
        egress: port.egress,
        destination,
        source,
        reserved: [0; 4],
    })
}

/// The routes by any interface, most specific first: those that we can't follow are
/// there too, since a less specific one must not be taken for them.
fn routes(net: &NetState, ports: &[Port]) -> Vec<Route> {
    let all: Vec<u32> = net.links().map(|link| link.ifindex).collect();
    net.routes(net::Family::V4, &all)
        .filter_map(|(prefix, route)| {
            let IpAddr::V4(network) = prefix.network else {
                return None;
            };
            let (kind, hop) = follow(net, ports, &route);
            Some(Route {
                prefix: u32::from_ne_bytes(network.octets()),
                mask: mask(prefix.length),
                kind,
                reserved: 0,
                hop,
            })
        })
        .take(limits::MAX_ROUTES as usize)
        .collect()
}

fn follow(net: &NetState, ports: &[Port], route: &net::Route) -> (u32, Hop) {
    let kernel = (Route::KERNEL, Hop::NONE);
    if !ports.iter().any(|port| port.ifindex == route.ifindex) {
        return kernel;
    }
    let Some(gateway) = route.gateway else {
        return (Route::ON_LINK, Hop::NONE);
    };
    let neighbour = net
        .neighbour(route.ifindex, gateway)
        .and_then(net::Neighbour::usable);
    let source = net.link(route.ifindex).and_then(|link| link.mac);
    match (neighbour, source) {
        (Some(destination), Some(source)) => {
            to(route.ifindex, destination, source, ports).map_or(kernel, |hop| (Route::VIA, hop))
        }
        _ => kernel,
    }
}

fn neighbours(net: &NetState, ports: &[Port]) -> BTreeMap<u32, Hop> {
    let ifindexes: Vec<u32> = ports.iter().map(|port| port.ifindex).collect();
    net.neighbours(net::Family::V4, &ifindexes)
        .filter(|(ifindex, ip, _)| {
            net.route(*ip)
                .is_some_and(|route| route.ifindex == *ifindex && route.gateway.is_none())
        })
        .filter_map(|(ifindex, ip, mac)| {
            let source = net.link(ifindex)?.mac?;
            let IpAddr::V4(ip) = ip else { return None };
            Some((
                u32::from_ne_bytes(ip.octets()),
                to(ifindex, mac, source, ports)?,
            ))
        })
        .take(limits::MAX_NEIGHBOURS as usize)
        .collect()
}

/// A prefix's mask as an address lies in a packet.
fn mask(length: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(length))
        .unwrap_or(0)
        .to_be()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_lie_as_in_a_packet() {
        let octets = |length| mask(length).to_ne_bytes();
        assert_eq!(octets(0), [0, 0, 0, 0]);
        assert_eq!(octets(8), [255, 0, 0, 0]);
        assert_eq!(octets(31), [255, 255, 255, 254]);
        assert_eq!(octets(32), [255; 4]);
    }

    #[test]
    fn only_a_healthy_backend_is_up() {
        use AdminState::{Draining, Enabled};
        let rows = [
            (Enabled, None, BackendState::Active),
            (Enabled, Some(Health::Healthy), BackendState::Active),
            (Enabled, Some(Health::Checking), BackendState::Down),
            (Enabled, Some(Health::Failed), BackendState::Down),
            (Draining, Some(Health::Healthy), BackendState::Draining),
            (Draining, Some(Health::Failed), BackendState::Down),
            (Draining, None, BackendState::Draining),
        ];
        for (admin, health, want) in rows {
            assert_eq!(state(admin, health.as_ref()), want, "{admin:?} {health:?}");
        }
    }
}
