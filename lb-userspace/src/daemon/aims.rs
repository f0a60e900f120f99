//! What the maps should hold: what is desired, as far as health and network allow.

mod back;
mod way;

#[cfg(test)]
pub(super) mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use lb_common::abi::{self, BackendState, Range};

pub(super) use self::back::links;
pub use self::way::{NoWay, Way};
use crate::{
    config::model::{AdminState, Backend, Config, Encapsulation, Forward, Ports, Service},
    health::{Health, TargetId},
    net::{Family, NetState},
    plan::{self, ServiceKey, Target, TargetBackend, TargetService},
};

/// An interface that we forward by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its number in the kernel; 0 while it isn't there.
    pub ifindex: u32,
    /// Its place in the device map.
    pub egress: u16,
}

/// Ways by backend.
pub type Ways = HashMap<TargetId, Way>;

/// What the maps should hold, and the way to each backend. `health` tells what is known of
/// one's; nothing of one that isn't checked.
#[must_use]
pub fn aims(
    config: &Config,
    health: impl Fn(&TargetId) -> Option<Health>,
    net: &NetState,
    ports: &[Port],
) -> (Target, Ways) {
    let mut target = Target {
        pool: pool(config).1,
        ..Target::default()
    };
    target.groups.extend(super::vips::settings::numbers(config));
    let backends = config.services.iter().map(|service| service.backends.len());
    let mut ways = Ways::with_capacity(backends.sum());
    for service in &config.services {
        let wanted = service_aims(config, service, &health, net, ports, &mut ways);
        target.services.insert(key(service), wanted);
    }
    if returns(config, Family::V4) {
        target.routes = back::routes(net, ports);
        target
            .neighbours
            .extend(back::neighbours(Family::V4, net, ports));
    }
    if returns(config, Family::V6) {
        target.routes6 = back::routes6(net, ports);
        target
            .neighbours
            .extend(back::neighbours(Family::V6, net, ports));
    }
    (target, ways)
}

/// What the maps should hold of one service. The ways to its backends are put into `ways`.
#[must_use]
pub fn service_aims(
    config: &Config,
    service: &Service,
    health: impl Fn(&TargetId) -> Option<Health>,
    net: &NetState,
    ports: &[Port],
    ways: &mut Ways,
) -> TargetService {
    let mut backends = Vec::with_capacity(service.backends.len());
    for backend in &service.backends {
        let id = id(service, backend);
        let way = way::find(config, service, backend, net, ports);
        let wanted = TargetBackend {
            forward: forward(service, backend),
            weight: backend.weight,
            backup: backend.backup,
            state: state(backend.admin, health(&id)),
            way: way::planned(&way),
        };
        backends.push((server(backend), wanted));
        ways.insert(id, way);
    }
    TargetService {
        index: service.scheduler.index(),
        prefix: prefix(service),
        range: range(service.port),
        keeping: service.scheduler.keeping(service.forward),
        backends,
    }
}

/// Addresses whose next hops must be known: backends, and the routers on the way back to
/// clients.
#[must_use]
pub fn wanted_hops(config: &Config, net: &NetState, ports: &[Port]) -> Vec<IpAddr> {
    let backends = config.services.iter().flat_map(|service| &service.backends);
    let mut wanted: Vec<IpAddr> = backends.map(|backend| backend.address).collect();
    for family in [Family::V4, Family::V6] {
        if returns(config, family) {
            wanted.extend(back::routers(family, net, ports));
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// The links on which neighbours ask for which IPv6 VIPs: the interfaces, and VLANs on
/// them. Switches and drivers must let their questions in.
#[must_use]
pub fn groups(config: &Config, net: &NetState, ports: &[Port]) -> BTreeSet<(u32, Ipv6Addr)> {
    let vips = config.services.iter().map(|service| service.vip);
    let gateways = config.groups.iter().flat_map(|group| &group.gateways);
    let asked = vips.chain(pool(config).1).chain(gateways.copied());
    let asked: BTreeSet<Ipv6Addr> = asked
        .filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(v6),
        })
        .collect();
    let links = links(net, ports);
    links
        .into_iter()
        .flat_map(|link| asked.iter().map(move |vip| (link, *vip)))
        .collect()
}

/// How the source ports of the pool lie in their map, and its addresses in the order of
/// their places: those of IPv4 first.
#[must_use]
pub fn pool(config: &Config) -> (abi::Pool, Vec<IpAddr>) {
    let Some(pool) = &config.full_nat else {
        return (abi::Pool::default(), Vec::new());
    };
    let mut addresses = pool.addresses.clone();
    addresses.sort_by_key(IpAddr::is_ipv6);
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    let shape = abi::Pool {
        first_port: *pool.ports.start(),
        buckets: (pool.ports.len() / 8) as u16,
        v4: v4 as u16,
        v6: (addresses.len() - v4) as u16,
    };
    (shape, addresses)
}

/// What tells a backend apart in health and status.
#[must_use]
pub fn id(service: &Service, backend: &Backend) -> TargetId {
    TargetId {
        service: service.name.clone(),
        backend: backend.name.clone(),
    }
}

/// What tells a backend apart in the maps.
#[must_use]
pub fn number_id(service: &Service, backend: &Backend) -> plan::Id {
    plan::Id {
        service: key(service),
        server: server(backend),
        forward: forward(service, backend),
    }
}

/// A service's key in the maps.
#[must_use]
pub fn key(service: &Service) -> ServiceKey {
    ServiceKey {
        vip: service.vip,
        port: service.port.first(),
        protocol: service.protocol,
    }
}

/// Whether any service sends, itself, to clients of a family: answers in the modes `nat`
/// and `full-nat`, and what routers say of tunnels.
#[must_use]
pub fn returns(config: &Config, family: Family) -> bool {
    config
        .services
        .iter()
        .any(|service| service.forward != Forward::Dsr && Family::of(service.vip) == family)
}

/// Whether any service translates addresses of a family.
#[must_use]
pub fn translates(config: &Config, family: Family) -> bool {
    config
        .services
        .iter()
        .any(|service| service.forward.translates() && Family::of(service.vip) == family)
}

/// The families of backends, each with one that has it.
pub fn families(config: &Config) -> impl Iterator<Item = (Family, &Service, &Backend)> {
    [Family::V4, Family::V6].into_iter().filter_map(|family| {
        let mut all = config.services.iter().flat_map(|service| {
            let backends = service.backends.iter();
            backends.map(move |backend| (service, backend))
        });
        let (service, backend) = all.find(|(_, b)| Family::of(b.address) == family)?;
        Some((family, service, backend))
    })
}

/// Whether the node can speak to all backends.
///
/// # Errors
///
/// Names one of a family that the node has no address of.
pub fn check_families(config: &Config, net: &NetState) -> Result<(), String> {
    let mut missing = families(config).filter(|(family, ..)| !net.has_address(*family));
    missing.next().map_or(Ok(()), |(family, service, backend)| {
        Err(format!(
            "service `{}`: backend `{}` has the {family} address {}, and this node has no {family} address to reach it from: give it one (`ip address add`), or take the backend out",
            service.name, backend.name, backend.address
        ))
    })
}

fn server(backend: &Backend) -> SocketAddr {
    SocketAddr::new(backend.address, backend.port)
}

/// How many bits of its clients' addresses the service's scheduler looks at, if at any.
fn prefix(service: &Service) -> u8 {
    let whole = match service.vip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    service.source_prefix.unwrap_or(whole)
}

fn range(ports: Ports) -> Option<Range> {
    match ports {
        Ports::Exact(_) => None,
        Ports::Range { .. } | Ports::Any => Some(Range {
            first: ports.first(),
            last: ports.last(),
        }),
    }
}

fn forward(service: &Service, backend: &Backend) -> abi::Forward {
    match (service.forward, backend.address) {
        (Forward::Dsr, _) => abi::Forward::Dsr,
        (Forward::Nat, _) => abi::Forward::Nat,
        (Forward::FullNat, _) => abi::Forward::FullNat,
        (Forward::Tunnel(Encapsulation::Ipip), IpAddr::V4(_)) => abi::Forward::Ip4,
        (Forward::Tunnel(Encapsulation::Ipip), IpAddr::V6(_)) => abi::Forward::Ip6,
        (Forward::Tunnel(Encapsulation::Gue { .. }), IpAddr::V4(_)) => abi::Forward::Gue4,
        (Forward::Tunnel(Encapsulation::Gue { .. }), IpAddr::V6(_)) => abi::Forward::Gue6,
    }
}

/// A backend is down unless it is healthy; whether it then takes new connections is the
/// operator's word. Without a check it is taken for healthy.
fn state(admin: AdminState, health: Option<Health>) -> BackendState {
    match (health.unwrap_or(Health::Healthy), admin) {
        (Health::Checking | Health::Failed, _) => BackendState::Down,
        (Health::Healthy, AdminState::Draining) => BackendState::Draining,
        (Health::Healthy, AdminState::Enabled) => BackendState::Active,
    }
}
