//! The way from what is to what should be: backends, their tunnels, and the servers of
//! `nat`.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
};

use lb_common::abi::{
    Address, Backend, BackendState, Endpoint, Forward, Hop, Kind, family_of, selector,
};

use super::{
    Id, Numbers, PlanError, Planner, ServiceKey, Target, TargetBackend, TargetService, Way, Write,
    address,
};

impl Planner {
    /// Marks as removed the backends that are no longer wanted.
    pub(super) fn forget_backends(&mut self, target: &Target) {
        // They lie by service.
        let mut wanted = (None, Wanted::Nothing);
        let mut gone = Vec::new();
        for id in self.model.backends.keys() {
            if wanted.0 != Some(id.service) {
                let service = match target.services.get(&id.service) {
                    Some(_) if !self.changed.contains(&id.service) => Wanted::All,
                    Some(service) => Wanted::of(service),
                    None => Wanted::Nothing,
                };
                wanted = (Some(id.service), service);
            }
            let stays = match &wanted.1 {
                Wanted::All => true,
                Wanted::These(servers) => servers.contains(&(id.server, id.forward)),
                Wanted::Nothing => false,
            };
            if !stays {
                gone.push(*id);
            }
        }
        for id in gone {
            if let Some((number, record)) = self.model.retire(id) {
                self.put_record(number, record);
            }
        }
    }

    /// Numbers, tunnels and records of all wanted backends of the services that have
    /// changed.
    pub(super) fn backends(&mut self, target: &Target) -> Result<Numbers, PlanError> {
        let mut numbers = Numbers::new();
        let mut free_services = self.model.free_services();
        for service in self.changed.clone() {
            let service_number = match self.model.services.get(&service) {
                Some(placed) => placed.number,
                None => {
                    let number = free_services.next().ok_or(PlanError::Services)?;
                    self.model.reserve_service(service, number, self.now);
                    number
                }
            };
            let wanted = &target.services[&service].backends;
            let mut its = Vec::with_capacity(wanted.len());
            for (server, backend) in wanted {
                let id = Id {
                    service,
                    server: *server,
                    forward: backend.forward,
                };
                let (number, is_new) = self.model.number(id).ok_or(PlanError::Backends)?;
                if is_new {
                    self.before.push(Write::ResetCounters(number));
                }
                self.tunnel(number, backend);
                let known = self.model.records.get(&number);
                self.put_record(number, record(id, service_number, backend, known));
                its.push(number);
            }
            numbers.insert(service, its);
        }
        Ok(numbers)
    }

    /// Changes a record, to be written by [`Planner::write_records`].
    fn put_record(&mut self, number: u16, record: Backend) {
        let before = self.model.records.insert(number, record);
        if before != Some(record) {
            self.touched.entry(number).or_insert(before);
        }
    }

    /// What a tunnel's outer headers say must be there before a record asks for it.
    fn tunnel(&mut self, number: u16, wanted: &TargetBackend) {
        if let Way::Known(_, tunnel) = wanted.way
            && is_tunnel(wanted.forward)
            && self.model.tunnels.insert(number, tunnel) != Some(tunnel)
        {
            self.before.push(Write::Tunnel(number, tunnel));
        }
    }

    /// The endpoints that `nat` servers' answers come from, and the chains of backends
    /// that are one server. Afterwards every record is as it should be, so all of them
    /// are written.
    pub(super) fn servers(&mut self) {
        let mut shared: BTreeMap<(Address, u32), Vec<u16>> = BTreeMap::new();
        for (id, &number) in &self.model.backends {
            if id.forward == Forward::Nat {
                shared.entry(server_key(id)).or_default().push(number);
            }
        }
        let mut sharing: BTreeMap<u16, u16> = BTreeMap::new();
        for numbers in shared.values_mut() {
            numbers.sort_unstable();
            sharing.extend(numbers.windows(2).map(|pair| (pair[0], pair[1])));
        }
        let records = self.model.records.iter();
        let other: Vec<(u16, Backend)> = records
            .filter_map(|(&number, &record)| {
                let sharing = sharing.get(&number).copied().unwrap_or(0);
                (record.sharing != sharing).then_some((number, Backend { sharing, ..record }))
            })
            .collect();
        for (number, record) in other {
            self.put_record(number, record);
        }
        self.write_records();
        let firsts: BTreeMap<(Address, u32), u16> = shared
            .into_iter()
            .map(|(key, numbers)| (key, numbers[0]))
            .collect();
        for (key, &first) in &firsts {
            if self.model.servers.get(key) != Some(&first) {
                let endpoint = self.server(*key, first);
                self.before.push(Write::Endpoint(endpoint));
            }
        }
        for key in self.model.servers.keys() {
            if !firsts.contains_key(key) {
                self.after.push(Write::RemoveEndpoint(key.0, key.1));
            }
        }
        self.model.servers = firsts;
    }

    fn server(&self, (address, selector): (Address, u32), first: u16) -> Endpoint {
        let record = &self.model.records[&first];
        let family = family_of(selector);
        let keys = &self.model.flow_keys;
        let seed = keys.seed(family, record.vip, record.vip_port, record.protocol);
        Endpoint::server(family, address, record.port, record.protocol, first, seed)
    }

    /// Records that have changed. One that takes new flows from now on must be there
    /// before a wheel names it, and one that no longer does must stay until none does.
    pub(super) fn write_records(&mut self) {
        for (number, before) in std::mem::take(&mut self.touched) {
            let record = self.model.records[&number];
            if before == Some(record) {
                continue;
            }
            let write = Write::Backend(number, record);
            if record.state == BackendState::Active as u8
                || before.is_none_or(|old| old.state == BackendState::Free as u8)
            {
                self.before.push(write);
            } else {
                self.after.push(write);
            }
        }
    }
}

/// Which backends a service is to have, of those that it has.
enum Wanted {
    All,
    These(HashSet<(SocketAddr, Forward)>),
    Nothing,
}

impl Wanted {
    fn of(service: &TargetService) -> Self {
        let servers = service.backends.iter();
        Wanted::These(
            servers
                .map(|(server, backend)| (*server, backend.forward))
                .collect(),
        )
    }
}

fn server_key(id: &Id) -> (Address, u32) {
    let (family, words) = address::words(id.server.ip());
    let protocol = ServiceKey::protocol_number(id.service);
    let selector = selector(family, id.server.port().to_be(), protocol, Kind::Server);
    (words, selector)
}

fn is_tunnel(forward: Forward) -> bool {
    forward.overhead() > 0
}

/// A backend's record. A way to it that is no longer known stays the one that was, and so
/// does whom it shares its server with.
fn record(id: Id, service: u32, wanted: &TargetBackend, known: Option<&Backend>) -> Backend {
    let known_hop = known.filter(|record| record.mtu != 0).map(|record| Hop {
        egress: record.egress.into(),
        mtu: record.mtu,
        tags: record.tags,
        destination: record.destination,
        source: record.source,
        reserved: [0; 4],
    });
    let (hop, is_usable) = match wanted.way {
        Way::Known(hop, _) => (Some(hop), true),
        Way::Unknown => (known_hop, known_hop.is_some()),
        Way::Barred => (known_hop, false),
    };
    let hop = hop.unwrap_or(Hop::NONE);
    let state = match is_usable {
        true => wanted.state,
        false => BackendState::Down,
    };
    Backend {
        address: address::words(id.server.ip()).1,
        vip: address::words(id.service.vip).1,
        port: id.server.port().to_be(),
        vip_port: id.service.port.to_be(),
        service: service as u16,
        sharing: known.map_or(0, |known| known.sharing),
        egress: hop.egress as u8,
        protocol: id.service.protocol_number(),
        mtu: hop.mtu,
        tags: hop.tags,
        destination: hop.destination,
        source: hop.source,
        state: state as u8,
        forward: id.forward as u8,
        hint: 0,
    }
    .hinted()
}
