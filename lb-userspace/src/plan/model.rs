//! What the maps hold, as far as we know.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
};

use lb_common::{
    abi::{Backend, BackendState, Hop, Route, WHEEL_CHUNK, Wheel},
    hash::FlowKeys,
    limits,
    wheel::Index,
};

use super::{Chunks, ServiceKey};

/// What tells backends apart: a service, and a server in it.
pub type Id = (ServiceKey, SocketAddrV4);

/// What the maps hold.
#[derive(Debug, Clone)]
pub struct Model {
    /// Keys of the flow hash.
    pub flow_keys: FlowKeys,
    /// Services by what tells them apart.
    pub services: BTreeMap<ServiceKey, Placed>,
    /// VIPs.
    pub vips: BTreeSet<Ipv4Addr>,
    /// Numbers of the backends that are wanted.
    pub backends: BTreeMap<Id, u16>,
    /// Records by number, those of removed backends that flows may still name included.
    pub records: BTreeMap<u16, Backend>,
    /// First backends of `nat` servers, by address and selector.
    pub servers: BTreeMap<(u32, u32), u16>,
    /// Which chunks hold wheels.
    pub chunks: Chunks,
    /// Routes of the return path.
    pub routes: Vec<Route>,
    /// On-link clients.
    pub neighbours: BTreeMap<u32, Hop>,
    /// Numbers of removed backends that flows may still name.
    retired: BTreeMap<Id, u16>,
    /// `records` as they were last written.
    pub(super) written: BTreeMap<u16, Backend>,
}

/// A service in the maps.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its number.
    pub number: u32,
    /// How its wheel is indexed.
    pub index: Index,
    /// Where its wheel lies.
    pub wheel: Wheel,
    /// The wheel's entries: backend numbers.
    pub entries: Vec<u16>,
    /// Whether the data plane finds it; a service that is being planned has a number
    /// only.
    pub(super) in_table: bool,
}

impl Placed {
    /// A service that is in the maps already.
    #[must_use]
    pub fn found(number: u32, index: Index, wheel: Wheel, entries: Vec<u16>) -> Self {
        Placed {
            number,
            index,
            wheel,
            entries,
            in_table: true,
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Model {
            flow_keys: FlowKeys::default(),
            services: BTreeMap::new(),
            vips: BTreeSet::new(),
            backends: BTreeMap::new(),
            records: BTreeMap::new(),
            servers: BTreeMap::new(),
            chunks: Chunks::new(limits::WHEEL_ENTRIES / WHEEL_CHUNK),
            routes: Vec::new(),
            neighbours: BTreeMap::new(),
            retired: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }
}

impl Model {
    /// Takes over a record that is in the maps.
    pub fn found_backend(&mut self, number: u16, record: Backend) {
        self.records.insert(number, record);
        self.written.insert(number, record);
        if let Some(id) = identity(&record) {
            let is_free = record.state == BackendState::Free as u8;
            let numbers = if is_free {
                &mut self.retired
            } else {
                &mut self.backends
            };
            numbers.insert(id, number);
        }
    }

    /// Forgets the removed backends whose numbers no flow names any more, and returns
    /// those numbers.
    pub fn release(&mut self, is_named: impl Fn(u16) -> bool) -> Vec<u16> {
        let released = self
            .retired
            .extract_if(.., |_, &mut number| !is_named(number));
        let numbers: Vec<u16> = released.map(|(_, number)| number).collect();
        for number in &numbers {
            self.records.remove(number);
            self.written.remove(number);
        }
        numbers
    }

    /// Numbers of removed backends that flows may still name.
    pub fn retired(&self) -> impl Iterator<Item = u16> + '_ {
        self.retired.values().copied()
    }

    /// Marks a backend as removed. Its record stays, for flows that still name it.
    pub(super) fn retire(&mut self, id: Id) {
        if let Some(number) = self.backends.remove(&id)
            && let Some(record) = self.records.get_mut(&number)
        {
            record.state = BackendState::Free as u8;
            self.retired.insert(id, number);
        }
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

    /// A number above all others while there is one, so that numbers rest as long as
    /// can be before they are given again.
    fn unused_number(&self) -> Option<u16> {
        let last = self
            .records
            .last_key_value()
            .map_or(0, |(&number, _)| number);
        if u32::from(last) < limits::MAX_BACKENDS {
            return Some(last + 1);
        }
        (1..=u16::MAX).find(|number| !self.records.contains_key(number))
    }

    /// Gives a service the lowest free number.
    pub(super) fn reserve_service(&mut self, key: ServiceKey) -> Option<u32> {
        let taken: BTreeSet<u32> = self.services.values().map(|placed| placed.number).collect();
        let number = (0..limits::MAX_SERVICES).find(|number| !taken.contains(number))?;
        let placed = Placed {
            number,
            index: Index::Counter,
            wheel: Wheel::default(),
            entries: Vec::new(),
            in_table: false,
        };
        self.services.insert(key, placed);
        Some(number)
    }
}

/// Whose record it is.
fn identity(record: &Backend) -> Option<Id> {
    let key = ServiceKey::from_words(record.vip[0], record.vip_port, record.protocol)?;
    let address = Ipv4Addr::from(record.address[0].to_ne_bytes());
    Some((key, SocketAddrV4::new(address, u16::from_be(record.port))))
}
