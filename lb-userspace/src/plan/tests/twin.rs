//! The maps in memory, and what every packet must find in them.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    abi::{
        Address, Backend, BackendState, Endpoint, Forward, Keeping, Kind, Range, Tunnel,
        WHEEL_CHUNK, family_of, kind_of, selector,
    },
    limits,
    wheel::Slot,
};

use crate::plan::{Write, words};

/// The maps in memory, as the data plane would see them.
pub struct Twin {
    pub endpoints: BTreeMap<(Address, u32), Endpoint>,
    pub backends: BTreeMap<u16, Backend>,
    pub tunnels: BTreeMap<u16, Tunnel>,
    pub weights: BTreeMap<u16, u16>,
    wheels: Vec<Slot>,
}

impl Twin {
    pub fn new() -> Self {
        Twin {
            endpoints: BTreeMap::new(),
            backends: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            weights: BTreeMap::new(),
            wheels: Vec::new(),
        }
    }

    /// Makes a write, and calls `look` at everything that a packet may see meanwhile.
    pub fn write(&mut self, write: &Write, look: &impl Fn(&Twin)) {
        match write {
            Write::Backend(number, record) => {
                self.backends.insert(*number, *record);
            }
            Write::Tunnel(number, tunnel) => {
                self.tunnels.insert(*number, *tunnel);
            }
            Write::Wheel(chunk, entries) => {
                let start = (chunk * WHEEL_CHUNK) as usize;
                let end = start + entries.len();
                assert!(end <= limits::WHEEL_ENTRIES as usize);
                if self.wheels.len() < end {
                    self.wheels.resize(end, Slot::default());
                }
                self.wheels[start..end].copy_from_slice(entries);
            }
            Write::Endpoint(endpoint) => self.endpoint(endpoint, look),
            Write::RemoveEndpoint(address, selector) => {
                self.endpoints
                    .remove(&(*address, *selector))
                    .expect("only what is there goes");
            }
            Write::Weight(number, weight) => {
                self.weights.insert(*number, *weight);
            }
            Write::ResetCounters(_)
            | Write::ResetCursor(..)
            | Write::Routes(_)
            | Write::Routes6(_)
            | Write::Neighbour(..) => {}
        }
        look(self);
    }

    /// A new endpoint comes whole, another record for the same one word by word.
    fn endpoint(&mut self, new: &Endpoint, look: &impl Fn(&Twin)) {
        let key = (new.address, new.selector);
        if let Some(mut seen) = self.endpoints.get(&key).copied() {
            seen = Endpoint {
                detail: seen.detail,
                ..*new
            };
            self.endpoints.insert(key, seen);
            look(self);
            for word in 0..new.detail.len() {
                seen.detail[word] = new.detail[word];
                self.endpoints.insert(key, seen);
                look(self);
            }
        }
        self.endpoints.insert(key, *new);
    }

    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Endpoint> {
        let is = move |e: &&Endpoint| kind_of(e.selector) == kind as u32;
        self.endpoints.values().filter(is)
    }

    pub fn wheel(&self, service: &Endpoint) -> &[Slot] {
        let wheel = service.wheel();
        let start = (wheel.chunk * WHEEL_CHUNK) as usize;
        let length = wheel.length as usize;
        if length == 0 {
            return &[];
        }
        &self.wheels[start..start + length]
    }

    /// What must hold for a packet that comes between any two writes.
    pub fn check(&self) {
        for service in self.of_kind(Kind::Service) {
            for slot in self.wheel(service) {
                self.check_slot(service, *slot);
            }
        }
        for server in self.of_kind(Kind::Server) {
            let record = &self.backends[&(server.number() as u16)];
            let family = family_of(server.selector);
            let its = selector(family, record.port, record.protocol, Kind::Server);
            assert_eq!((record.address, its), (server.address, server.selector));
            assert_eq!(record.forward, Forward::Nat as u8);
        }
        for vip in self.of_kind(Kind::Vip) {
            for (range, protocol) in ranges(vip) {
                let family = family_of(vip.selector);
                let key = selector(family, range.first.to_be(), protocol, Kind::Service);
                let there = self.endpoints.contains_key(&(vip.address, key));
                assert!(there, "a range {range:?} without a service");
            }
        }
    }

    /// A place may be nobody's while its flows are somebody's.
    fn check_slot(&self, service: &Endpoint, slot: Slot) {
        let changes = service.keeping == Keeping::Changes as u8;
        assert!(changes || (slot.is_stable() && slot.backend() != 0));
        if slot.backend() != 0 {
            self.check_backend(service, slot.backend());
            let state = self.backends[&slot.backend()].state;
            let number = slot.backend();
            assert_eq!(state, BackendState::Active as u8, "backend {number}");
        }
        if slot.before() != 0 {
            self.check_backend(service, slot.before());
        }
    }

    fn check_backend(&self, service: &Endpoint, number: u16) {
        let record = &self.backends[&number];
        let family = family_of(service.selector);
        let its = selector(family, record.vip_port, record.protocol, Kind::Service);
        assert_eq!((record.vip, its), (service.address, service.selector));
        assert_ne!(record.mtu, 0, "backend {number} has no way");
        let is_full_nat = record.forward == Forward::FullNat as u8;
        let has_ports = service.keeping == Keeping::Ports as u8;
        assert_eq!(is_full_nat, has_ports, "backend {number}");
        if Forward::from_byte(record.forward)
            .expect("a mode")
            .overhead()
            > 0
        {
            assert_ne!(self.tunnels[&number].source, [0; 4], "backend {number}");
        }
    }

    /// The service that a packet finds, as the data plane looks for it: its port.
    pub fn find(&self, vip: IpAddr, port: u16, protocol: u8) -> Option<u16> {
        let (family, address) = words(vip);
        let has = |port: u16| {
            let key = selector(family, port.to_be(), protocol, Kind::Service);
            self.endpoints.contains_key(&(address, key))
        };
        if has(port) {
            return Some(port);
        }
        let vip = self
            .endpoints
            .get(&(address, selector(family, 0, 0, Kind::Vip)))?;
        let (range, _) = ranges(vip)
            .into_iter()
            .find(|(range, of)| *of == protocol && (range.first..=range.last).contains(&port))?;
        has(range.first).then_some(range.first)
    }
}

/// A VIP's ranges with their protocols, in their order.
fn ranges(vip: &Endpoint) -> Vec<(Range, u8)> {
    let places = 0..limits::MAX_VIP_RANGES as usize;
    let of = |place: usize| {
        let bits = (vip.detail[1 + place / 2] >> (place % 2 * 32)) as u32;
        let protocols = [(vip.tcp_ranges, 6), (vip.udp_ranges, 17)];
        protocols
            .into_iter()
            .filter(move |(mask, _)| mask >> place & 1 == 1)
            .map(move |(_, protocol)| (Range::from_bits(bits), protocol))
    };
    places.flat_map(of).collect()
}
