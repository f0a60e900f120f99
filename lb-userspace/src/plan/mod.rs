//! From what is to what should be: the ordered list of map writes.
//!
//! A plan is made whole before anything is written, and it keeps every packet's way
//! intact while it is carried out: what packets are to find is written before what
//! leads them there, and taken away after.

mod chunks;
mod model;
mod target;
mod wheel;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    net::SocketAddrV4,
    time::Instant,
};

use lb_common::{
    abi::{
        Backend, BackendState, Endpoint, Forward, Hop, Kind, NO_DEADLINE, Route, ipv4, selector,
    },
    limits,
};

pub use chunks::{Chunks, NoRoom};
pub use model::{Id, Model, Placed};
pub use target::{ServiceKey, Target, TargetBackend, TargetService};

/// One write to the data plane's maps.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A backend number is given for the first time, or again: its counters begin at 0.
    ResetCounters(u16),
    /// A backend's record.
    Backend(u16, Backend),
    /// A new service's scheduler begins, in a wheel of that length.
    ResetCursor(u32, u32),
    /// A wheel's entries, from a chunk on.
    Wheel(u32, Vec<u16>),
    /// An endpoint, new or in place of the one with the same key.
    Endpoint(Endpoint),
    /// No endpoint has this address and selector any more.
    RemoveEndpoint(u32, u32),
    /// The routes of `nat`'s return path.
    Routes(Vec<Route>),
    /// How an on-link client is reached, or that it no longer is.
    Neighbour(u32, Option<Hop>),
}

/// What the maps have no room for. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Every service number is taken.
    #[error("no room for another service: {} are in use", limits::MAX_SERVICES)]
    Services,
    /// Every backend number is taken or still named by flows.
    #[error(
        "no room for another backend: all {} numbers are in use or still named by flows of removed backends, which expire by and by",
        limits::MAX_BACKENDS
    )]
    Backends,
    /// No run of chunks is free for a wheel.
    #[error(
        "no room for the wheel of {0}: its wheel is long because its weights have no common divisor; simpler weights need less"
    )]
    Wheels(ServiceKey),
}

/// Writes, and what the maps hold when they are done.
#[derive(Debug)]
pub struct Plan {
    /// In the order in which to make them.
    pub writes: Vec<Write>,
    /// What the maps hold then.
    pub model: Model,
}

/// Plans the way from `model` to `target`.
///
/// # Errors
///
/// [`PlanError`] when the maps have no room for it.
pub fn plan(model: &Model, target: &Target, now: Instant) -> Result<Plan, PlanError> {
    let mut planner = Planner {
        before: Vec::new(),
        after: Vec::new(),
        model: model.clone(),
    };
    planner.forget_services(target, now);
    let numbers = planner.backends(target)?;
    planner.servers();
    planner.services(target, &numbers, now)?;
    planner.network(target);
    let Planner {
        mut before,
        after,
        model,
    } = planner;
    before.extend(after);
    Ok(Plan {
        writes: before,
        model,
    })
}

struct Planner {
    before: Vec<Write>,
    after: Vec<Write>,
    model: Model,
}

/// Backend numbers by service, in the target's order.
type Numbers = BTreeMap<ServiceKey, Vec<u16>>;

impl Planner {
    /// Services, VIPs and backends that are no longer wanted.
    fn forget_services(&mut self, target: &Target, now: Instant) {
        let vips: BTreeSet<_> = target.services.keys().map(|key| key.vip).collect();
        for vip in self.model.vips.clone() {
            if !vips.contains(&vip) {
                self.after.push(Write::RemoveEndpoint(
                    ipv4(vip.octets())[0],
                    selector(0, 0, Kind::Vip),
                ));
                self.model.vips.remove(&vip);
            }
        }
        let gone: Vec<ServiceKey> = self
            .model
            .services
            .keys()
            .filter(|key| !target.services.contains_key(key))
            .copied()
            .collect();
        for key in gone {
            if let Some(placed) = self.model.services.remove(&key) {
                let endpoint = key.endpoint(&placed, &self.model.flow_keys);
                self.after.push(Write::RemoveEndpoint(
                    endpoint.address[0],
                    endpoint.selector,
                ));
                self.model.chunks.free(placed.wheel, now);
            }
        }
        let wanted: HashSet<Id> = target
            .services
            .iter()
            .flat_map(|(&key, service)| {
                service
                    .backends
                    .iter()
                    .map(move |(server, _)| (key, *server))
            })
            .collect();
        let gone: Vec<Id> = self
            .model
            .backends
            .keys()
            .filter(|id| !wanted.contains(id))
            .copied()
            .collect();
        for id in gone {
            self.model.retire(id);
        }
    }

    /// Numbers and records of all wanted backends.
    fn backends(&mut self, target: &Target) -> Result<Numbers, PlanError> {
        let mut numbers = Numbers::new();
        for (&key, service) in &target.services {
            let service_number = match self.model.services.get(&key) {
                Some(placed) => placed.number,
                None => self.model.reserve_service(key).ok_or(PlanError::Services)?,
            };
            for (server, wanted) in &service.backends {
                let (number, is_new) = self
                    .model
                    .number((key, *server))
                    .ok_or(PlanError::Backends)?;
                if is_new {
                    self.before.push(Write::ResetCounters(number));
                }
                let known = self.model.records.get(&number).copied();
                let record = record(key, service, service_number, *server, wanted, known);
                self.model.records.insert(number, record);
                numbers.entry(key).or_default().push(number);
            }
        }
        Ok(numbers)
    }

    /// The endpoints that `nat` servers' answers come from, and the chains of backends
    /// that are one server. Afterwards every record is as it should be, so all of them
    /// are written.
    fn servers(&mut self) {
        let mut shared: BTreeMap<(u32, u32), Vec<u16>> = BTreeMap::new();
        for (&number, record) in &self.model.records {
            if record.forward == Forward::Nat as u8 && record.state != BackendState::Free as u8 {
                let selector = selector(record.port, record.protocol, Kind::Server);
                shared
                    .entry((record.address[0], selector))
                    .or_default()
                    .push(number);
            }
        }
        for record in self.model.records.values_mut() {
            record.sharing = 0;
        }
        for numbers in shared.values() {
            for pair in numbers.windows(2) {
                if let Some(record) = self.model.records.get_mut(&pair[0]) {
                    record.sharing = pair[1];
                }
            }
        }
        self.write_records();
        let firsts: BTreeMap<(u32, u32), u16> = shared
            .into_iter()
            .map(|(key, numbers)| (key, numbers[0]))
            .collect();
        for (&(address, selector), &first) in &firsts {
            if self.model.servers.get(&(address, selector)) != Some(&first) {
                let record = &self.model.records[&first];
                let keys = &self.model.flow_keys;
                let seed = keys.seed(record.vip[0], record.vip_port, record.protocol);
                let endpoint =
                    Endpoint::server(record.address, record.port, record.protocol, first, seed);
                self.before.push(Write::Endpoint(endpoint));
            }
        }
        for &(address, selector) in self.model.servers.keys() {
            if !firsts.contains_key(&(address, selector)) {
                self.after.push(Write::RemoveEndpoint(address, selector));
            }
        }
        self.model.servers = firsts;
    }

    /// Records that have changed. One that takes new flows from now on must be there
    /// before a wheel names it, and one that no longer does must stay until none does.
    fn write_records(&mut self) {
        for (&number, record) in &self.model.records {
            let written = self.model.written.get(&number);
            if written == Some(record) {
                continue;
            }
            let write = Write::Backend(number, *record);
            if record.state == BackendState::Active as u8
                || written.is_none_or(|old| old.state == BackendState::Free as u8)
            {
                self.before.push(write);
            } else {
                self.after.push(write);
            }
        }
        self.model.written.clone_from(&self.model.records);
    }

    /// Wheels, then the services that turn them, then the VIPs.
    fn services(
        &mut self,
        target: &Target,
        numbers: &Numbers,
        now: Instant,
    ) -> Result<(), PlanError> {
        let none = Vec::new();
        for (&key, service) in &target.services {
            let entries = wheel::entries(service, numbers.get(&key).unwrap_or(&none), |number| {
                self.model.records[&number].state == BackendState::Active as u8
            });
            let old = self.model.services.get(&key).cloned();
            let is_placed = old.as_ref().is_some_and(|placed| placed.in_table);
            if let Some(old) = &old
                && is_placed
                && old.entries == entries
                && old.index == service.index
            {
                continue;
            }
            let wheel = self
                .model
                .chunks
                .allocate(entries.len() as u32, now)
                .map_err(|_| PlanError::Wheels(key))?;
            let number = old.as_ref().map_or(0, |placed| placed.number);
            if !is_placed {
                self.before.push(Write::ResetCursor(number, wheel.length));
            }
            if !entries.is_empty() {
                self.before.push(Write::Wheel(wheel.chunk, entries.clone()));
            }
            if let Some(old) = old {
                self.model.chunks.free(old.wheel, now);
            }
            let placed = Placed {
                number,
                index: service.index,
                wheel,
                entries,
                in_table: true,
            };
            self.before.push(Write::Endpoint(
                key.endpoint(&placed, &self.model.flow_keys),
            ));
            self.model.services.insert(key, placed);
        }
        for key in target.services.keys() {
            if self.model.vips.insert(key.vip) {
                self.before.push(Write::Endpoint(Endpoint::vip(
                    ipv4(key.vip.octets()),
                    NO_DEADLINE,
                )));
            }
        }
        Ok(())
    }

    fn network(&mut self, target: &Target) {
        if self.model.routes != target.routes {
            self.before.push(Write::Routes(target.routes.clone()));
            self.model.routes.clone_from(&target.routes);
        }
        for (&address, &hop) in &target.neighbours {
            if self.model.neighbours.get(&address) != Some(&hop) {
                self.before.push(Write::Neighbour(address, Some(hop)));
            }
        }
        for &address in self.model.neighbours.keys() {
            if !target.neighbours.contains_key(&address) {
                self.after.push(Write::Neighbour(address, None));
            }
        }
        self.model.neighbours.clone_from(&target.neighbours);
    }
}

/// A backend's record. A way to it that is no longer known stays the one that was.
fn record(
    key: ServiceKey,
    service: &TargetService,
    service_number: u32,
    server: SocketAddrV4,
    wanted: &TargetBackend,
    known: Option<Backend>,
) -> Backend {
    let known_hop = known
        .filter(|record| record.ifindex != 0)
        .map(|record| Hop {
            ifindex: record.ifindex,
            egress: record.egress,
            destination: record.destination,
            source: record.source,
            reserved: [0; 4],
        });
    let hop = wanted.hop.or(known_hop);
    let state = if hop.is_none() {
        BackendState::Down
    } else {
        wanted.state
    };
    let hop = hop.unwrap_or(Hop::NONE);
    Backend {
        address: ipv4(server.ip().octets()),
        vip: ipv4(key.vip.octets()),
        port: server.port().to_be(),
        vip_port: key.port.to_be(),
        service: service_number as u16,
        sharing: 0,
        ifindex: hop.ifindex,
        egress: hop.egress,
        destination: hop.destination,
        source: hop.source,
        state: state as u8,
        forward: service.forward as u8,
        protocol: key.protocol_number(),
        reserved: 0,
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |word: u32| std::net::Ipv4Addr::from(word.to_ne_bytes());
        match self {
            Write::ResetCounters(number) => write!(f, "counters of backend {number} to 0"),
            Write::Backend(number, record) => write!(
                f,
                "backend {number} {}:{} {:?}",
                address(record.address[0]),
                u16::from_be(record.port),
                BackendState::from_byte(record.state)
            ),
            Write::ResetCursor(service, _) => write!(f, "cursors of service {service} spread out"),
            Write::Wheel(chunk, entries) => {
                write!(f, "wheel of {} entries at chunk {chunk}", entries.len())
            }
            Write::Endpoint(endpoint) => write!(
                f,
                "endpoint {}:{} kind {}",
                address(endpoint.address[0]),
                u16::from_be(endpoint.selector as u16),
                endpoint.selector >> 24
            ),
            Write::RemoveEndpoint(at, selector) => write!(
                f,
                "no endpoint {}:{} kind {}",
                address(*at),
                u16::from_be(*selector as u16),
                selector >> 24
            ),
            Write::Routes(routes) => write!(f, "{} routes", routes.len()),
            Write::Neighbour(at, Some(_)) => write!(f, "neighbour {}", address(*at)),
            Write::Neighbour(at, None) => write!(f, "no neighbour {}", address(*at)),
        }
    }
}
