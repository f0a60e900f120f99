//! What the maps hold, as far as we know.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use lb_common::{
    abi::{
        Address, Backend, BackendState, Endpoint, Family, Forward, Hop, Keeping, Route, Route6,
        Tunnel, WHEEL_CHUNK, Wheel,
    },
    hash::FlowKeys,
    limits,
    wheel::{Index, Slot},
};

use super::{Chunks, Places, ServiceKey, TargetService, address, work};

/// What tells backends apart. The forwarding mode is among it, since a flow that began
/// in one can't go on in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The service.
    pub service: ServiceKey,
    /// The server. A port of 0 leaves a packet's own.
    pub server: SocketAddr,
    /// How packets reach it.
    pub forward: Forward,
}

/// What the maps hold.
#[derive(Debug, Clone)]
pub struct Model {
    /// Keys of the flow hash.
    pub flow_keys: FlowKeys,
    /// Services by what tells them apart.
    pub services: BTreeMap<ServiceKey, Placed>,
    /// VIPs and the addresses of the `full-nat` pool.
    pub vips: BTreeMap<IpAddr, Endpoint>,
    /// Numbers of the backends that are wanted.
    pub backends: BTreeMap<Id, u16>,
    /// Records by number, those of removed backends that flows may still name included.
    pub records: BTreeMap<u16, Backend>,
    /// Tunnels by backend number.
    pub tunnels: BTreeMap<u16, Tunnel>,
    /// First backends of `nat` servers, by address and selector.
    pub servers: BTreeMap<(Address, u32), u16>,
    /// Weights of the backends whose load is looked at.
    pub weights: BTreeMap<u16, u16>,
    /// Which chunks hold wheels.
    pub chunks: Chunks,
    /// Routes of the return path to IPv4 clients.
    pub routes: Vec<Route>,
    /// Those to IPv6 clients.
    pub routes6: Vec<Route6>,
    /// On-link clients.
    pub neighbours: BTreeMap<IpAddr, Hop>,
    /// Numbers of removed backends that flows may still name.
    retired: BTreeMap<Id, u16>,
    /// The backend number that was given last.
    last_number: u16,
    /// How often wheels are halved for want of room.
    pub(super) halvings: u8,
}

/// A service in the maps.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its number.
    pub number: u32,
    /// How its wheel is indexed.
    pub index: Index,
    /// Where its flows are kept.
    pub keeping: Keeping,
    /// Where its wheel lies.
    pub wheel: Wheel,
    /// How many bits of its clients' addresses [`Index::Source`] looks at.
    pub prefix: u8,
    /// The wheel's places.
    pub places: Arc<Places>,
    /// What it was last planned for; none of one that is found in the maps.
    pub(super) wanted: Option<Arc<TargetService>>,
    /// Whether the data plane finds it; a service that is being planned has a number
    /// only.
    pub(super) in_table: bool,
}

impl Placed {
    /// A service that is in the maps already.
    #[must_use]
    pub fn found(endpoint: &Endpoint, slots: Vec<Slot>, now: Instant) -> Self {
        Placed {
            number: endpoint.number(),
            index: Index::from_byte(endpoint.index),
            keeping: Keeping::from_byte(endpoint.keeping),
            prefix: endpoint.prefix(),
            wheel: endpoint.wheel(),
            places: Arc::new(Places::found(slots, now)),
            wanted: None,
            in_table: true,
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Model {
            flow_keys: FlowKeys::default(),
            services: BTreeMap::new(),
            vips: BTreeMap::new(),
            backends: BTreeMap::new(),
            records: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            servers: BTreeMap::new(),
            weights: BTreeMap::new(),
            chunks: Chunks::new(limits::WHEEL_ENTRIES / WHEEL_CHUNK),
            routes: Vec::new(),
            routes6: Vec::new(),
            neighbours: BTreeMap::new(),
            retired: BTreeMap::new(),
            last_number: 0,
            halvings: 0,
        }
    }
}

impl Model {
    /// Takes over a record that is in the maps. The services must be known before, for
    /// the record doesn't tell its VIP's family.
    pub fn found_backend(&mut self, number: u16, record: Backend, tunnel: Option<Tunnel>) {
        self.records.insert(number, record);
        self.last_number = self.last_number.max(number);
        if let Some(tunnel) = tunnel {
            self.tunnels.insert(number, tunnel);
        }
        if let Some(id) = self.identity(&record) {
            let is_free = record.state == BackendState::Free as u8;
            let numbers = if is_free {
                &mut self.retired
            } else {
                &mut self.backends
            };
            numbers.insert(id, number);
        }
    }

    /// Forgets the removed backends whose numbers no flow names any more, and no place of
    /// a wheel, and returns those numbers.
    pub fn release(&mut self, is_named: impl Fn(u16) -> bool) -> Vec<u16> {
        let services = &self.services;
        let released = self.retired.extract_if(.., |id, &mut number| {
            let placed = services.get(&id.service);
            !is_named(number) && placed.is_none_or(|placed| !placed.places.name(number))
        });
        let numbers: Vec<u16> = released.map(|(_, number)| number).collect();
        for number in &numbers {
            self.weights.remove(number);
            self.records.remove(number);
            self.tunnels.remove(number);
        }
        numbers
    }

    /// Whose record it is.
    fn identity(&self, record: &Backend) -> Option<Id> {
        let service =
            |family| ServiceKey::from_words(family, record.vip, record.vip_port, record.protocol);
        let of_record = |key: &ServiceKey| {
            let placed = self.services.get(key);
            placed.is_some_and(|placed| placed.number == u32::from(record.service))
        };
        let known = [Family::V4, Family::V6]
            .into_iter()
            .find(|&family| service(family).is_some_and(|key| of_record(&key)));
        let (vip, server) = addresses(record, known);
        Some(Id {
            service: service(address::words(vip).0)?,
            server: SocketAddr::new(server, u16::from_be(record.port)),
            forward: Forward::from_byte(record.forward)?,
        })
    }

    /// Whether a backend keeps the flows that it has.
    pub(super) fn serves(&self, number: u16) -> bool {
        let record = self.records.get(&number);
        let state = record.map(|record| BackendState::from_byte(record.state));
        matches!(state, Some(BackendState::Active | BackendState::Draining))
    }

    /// Every number that flows of a service may name, with whose it is or was.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (&Id, u16)> {
        let all = self.backends.iter().chain(&self.retired);
        all.map(|(id, &number)| (id, number))
    }

    /// Whether the flow table or the ports may have anything to tell.
    #[must_use]
    pub fn remembers_flows(&self) -> bool {
        let remembers =
            |placed: &Placed| placed.keeping != Keeping::Changes || !placed.places.is_stable();
        !self.retired.is_empty() || self.services.values().any(remembers)
    }

    /// Numbers of removed backends that flows may still name.
    pub fn retired(&self) -> impl Iterator<Item = u16> + '_ {
        self.retired.values().copied()
    }

    /// Marks a backend as removed. Its record stays, for flows that still name it, but
    /// should say so: that is what is returned.
    pub(super) fn retire(&mut self, id: Id) -> Option<(u16, Backend)> {
        let number = self.backends.remove(&id)?;
        let record = *self.records.get(&number)?;
        self.retired.insert(id, number);
        let state = BackendState::Free as u8;
        Some((number, Backend { state, ..record }))
    }

    /// The number of a backend: its own, the one that it had before it was removed, or
    /// a new one (then `true`).
    pub(super) fn number(&mut self, id: Id) -> Option<(u16, bool)> {
        if let Some(&number) = self.backends.get(&id) {
            return Some((number, false));
        }
        let (number, is_new) = match self.retired.remove(&id) {
            Some(number) => (number, false),
            None => (self.unused_number()?, true),
        };
        self.backends.insert(id, number);
        Some((number, is_new))
    }

    /// The next number that nobody has, so that numbers rest as long as can be before they
    /// are given again.
    fn unused_number(&mut self) -> Option<u16> {
        let all = 1..=limits::MAX_BACKENDS as u16;
        let after = self.last_number.saturating_add(1)..=*all.end();
        let number = after
            .chain(all)
            .inspect(|_| work::count(1))
            .find(|number| !self.records.contains_key(number))?;
        self.last_number = number;
        Some(number)
    }

    /// The service numbers that are free, in order.
    pub(super) fn free_services(&self) -> impl Iterator<Item = u32> + use<> {
        let taken: HashSet<u32> = self.services.values().map(|placed| placed.number).collect();
        (0..limits::MAX_SERVICES)
            .inspect(|_| work::count(1))
            .filter(move |number| !taken.contains(number))
    }

    /// Gives a service a number that is free.
    pub(super) fn reserve_service(&mut self, key: ServiceKey, number: u32, now: Instant) {
        let placed = Placed {
            number,
            index: Index::Counter,
            keeping: Keeping::Flows,
            prefix: 0,
            wheel: Wheel::default(),
            places: Arc::new(Places::stable(&[], now)),
            wanted: None,
            in_table: false,
        };
        self.services.insert(key, placed);
    }
}

/// A record's VIP and its server's own address. Of a removed service the VIP's family is
/// not known: then an address that looks like IPv4 is taken for it.
pub(super) fn addresses(record: &Backend, vip_family: Option<Family>) -> (IpAddr, IpAddr) {
    let forward = Forward::from_byte(record.forward);
    let is_tunnel = forward.is_some_and(|forward| forward.overhead() > 0);
    let guess = match (record.vip, record.address) {
        ([_, 0, 0, 0], [_, 0, 0, 0]) => Family::V4,
        ([_, 0, 0, 0], _) if is_tunnel => Family::V4,
        _ => Family::V6,
    };
    let family = vip_family.unwrap_or(guess);
    let server_family = match forward {
        Some(Forward::Ip4 | Forward::Gue4) => Family::V4,
        Some(Forward::Ip6 | Forward::Gue6) => Family::V6,
        Some(Forward::Dsr | Forward::Nat | Forward::FullNat) | None => family,
    };
    (
        address::ip(family, record.vip),
        address::ip(server_family, record.address),
    )
}
