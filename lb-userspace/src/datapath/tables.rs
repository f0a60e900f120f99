//! The maps that say what goes where.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Instant};

use aya::maps::{
    HashMap, MapData,
    xdp::{DevMap, XdpMapError},
};
use lb_common::{
    abi::{
        self, Address, Backend, Cursor, Endpoint, Family, Hop, Identity, Load, NO_DEADLINE,
        NO_GROUP, Record, Route, Route6, Tunnel, WHEEL_CHUNK, WheelChunk,
    },
    limits,
    wheel::Slot,
};

use super::{
    Counters, DatapathError, Object,
    endpoints::{Endpoints, Full, GRACE},
    kernel_error,
    known::Known,
    lease::Lease,
    memory::Shared,
    object::DEVICES,
    routes,
};
use crate::plan::{self, Write};

/// The maps, opened for writing.
pub struct Tables {
    /// Services, VIPs and `nat` servers.
    pub endpoints: Endpoints,
    /// Backends by number.
    pub backends: Shared<Backend>,
    /// What the outer headers of backends' packets say, by number.
    pub tunnels: Shared<Tunnel>,
    /// What the flow table was made with.
    pub identity: Shared<Identity>,
    /// What backends have to do, by number: of those whose load is looked at.
    pub loads: Shared<Load>,
    wheels: Shared<WheelChunk>,
    leases: Arc<Shared<abi::Lease>>,
    routes: Shared<Route>,
    routes6: Shared<Route6>,
    neighbours: HashMap<MapData, u32, Plain<Hop>>,
    neighbours6: HashMap<MapData, Address, Plain<Hop>>,
    pool: Shared<Address>,
    cursors: Shared<Cursor>,
    devices: DevMap<MapData>,
    /// Those of the program for several buffers.
    devices_frags: Option<DevMap<MapData>>,
}

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The endpoint table is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] DatapathError),
}

/// A record as aya takes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: a record has no padding and takes every bit pattern (Record).
unsafe impl<T: Record> aya::Pod for Plain<T> {}

impl Tables {
    /// Opens the maps of a loaded object.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    ///
    /// # Panics
    ///
    /// When the object lacks one of Flowgate's maps, or its tables were taken before.
    pub fn open(object: &mut Object) -> Result<Self, DatapathError> {
        let slots = object.shared("ENDPOINTS")?;
        let pilots = object.shared("PILOTS")?;
        let known = Known::open(object.shared("KNOWN")?);
        let mut take = |name| object.ebpf.take_map(name).expect("the object has this map");
        let kind = "the map has its kind by its declaration";
        let neighbours = HashMap::try_from(take("NEIGHBOURS")).expect(kind);
        let neighbours6 = HashMap::try_from(take("NEIGHBOURS6")).expect(kind);
        let devices = DevMap::try_from(take(DEVICES)).expect(kind);
        let leases = Arc::new(object.shared("LEASES")?);
        Lease::new(Arc::clone(&leases), NO_GROUP).hold_until(NO_DEADLINE);
        Ok(Tables {
            endpoints: Endpoints::open(slots, pilots, known, Instant::now()),
            backends: object.shared("BACKENDS")?,
            tunnels: object.shared("TUNNELS")?,
            identity: object.shared("IDENTITY")?,
            loads: object.shared("LOADS")?,
            wheels: object.shared("WHEELS")?,
            leases,
            routes: object.shared("ROUTES")?,
            routes6: object.shared("ROUTES6")?,
            neighbours,
            neighbours6,
            pool: object.shared("POOL")?,
            cursors: object.shared("CURSORS")?,
            devices,
            devices_frags: None,
        })
    }

    /// Makes the writes of a plan, in their order.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the writes before the failed one are made.
    pub fn apply(&mut self, writes: &[Write], counters: &Counters) -> Result<(), WriteError> {
        for write in writes {
            match write {
                Write::ResetCounters(number) => {
                    counters.reset_backend(*number);
                    self.loads.store(u32::from(*number), &Load::default());
                }
                Write::Weight(number, weight) => self.put_weight(*number, *weight),
                Write::Tunnel(number, tunnel) => self.tunnels.store(u32::from(*number), tunnel),
                Write::Backend(number, record) => self.backends.store(u32::from(*number), record),
                Write::ResetCursor(service, length) => self.reset_cursor(*service, *length),
                Write::Wheel(chunk, entries) => self.put_wheel(*chunk, entries),
                Write::Endpoint(endpoint) => self.put_endpoint(endpoint)?,
                Write::RemoveEndpoint(address, selector) => {
                    self.endpoints.remove(*address, *selector);
                }
                Write::Routes(routes) => self.put_routes(routes),
                Write::Routes6(routes) => self.put_routes6(routes),
                Write::Neighbour(address, hop) => self.put_neighbour(*address, *hop)?,
            }
        }
        Ok(())
    }

    /// Puts an endpoint into its table.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn put_endpoint(&mut self, endpoint: &Endpoint) -> Result<(), Full> {
        self.endpoints
            .put(endpoint, Instant::now())
            .or_else(|Full| {
                // Tens of thousands in one go fill the table with slots that were just left.
                std::thread::sleep(GRACE);
                self.endpoints.put(endpoint, Instant::now())
            })
    }

    /// Clears the record of a removed backend that no flow names any more.
    pub fn forget_backend(&self, number: u16) {
        self.backends.store(u32::from(number), &Backend::FREE);
        self.tunnels.store(u32::from(number), &Tunnel::NONE);
        self.loads.store(u32::from(number), &Load::default());
    }

    /// The lease of a group of VIPs.
    ///
    /// # Panics
    ///
    /// When there is no group of that number.
    #[must_use]
    pub fn lease(&self, group: u32) -> Lease {
        Lease::new(Arc::clone(&self.leases), group)
    }

    /// Sets by what weight a backend's load is measured.
    fn put_weight(&self, number: u16, weight: u16) {
        let load = Load {
            weight: u32::from(weight),
            ..self.loads.load(u32::from(number))
        };
        self.loads.store(u32::from(number), &load);
    }

    /// Sets how many flows backends have, of those that have a weight. `flows` are by
    /// number. What the data plane adds meanwhile may be lost until the next time.
    pub fn put_loads(&self, weights: &BTreeMap<u16, u16>, flows: &[u32]) {
        for (&number, &weight) in weights {
            let load = Load {
                flows: flows.get(usize::from(number)).copied().unwrap_or(0),
                weight: u32::from(weight),
            };
            self.loads.store(u32::from(number), &load);
        }
    }

    /// Writes a wheel, at least its entries long, from a chunk on.
    ///
    /// # Panics
    ///
    /// When it doesn't fit.
    pub fn put_wheel(&self, chunk: u32, entries: &[Slot]) {
        for (i, part) in entries.chunks(WHEEL_CHUNK as usize).enumerate() {
            let mut line = WheelChunk([Slot::default(); WHEEL_CHUNK as usize]);
            line.0[..part.len()].copy_from_slice(part);
            self.wheels.store(chunk + i as u32, &line);
        }
    }

    /// Reads a wheel of `length` entries.
    ///
    /// # Panics
    ///
    /// When it reaches beyond the map.
    #[must_use]
    pub fn wheel(&self, chunk: u32, length: u32) -> Vec<Slot> {
        let lines = (0..length.div_ceil(WHEEL_CHUNK)).map(|i| self.wheels.load(chunk + i).0);
        let mut entries: Vec<Slot> = lines.flatten().collect();
        entries.truncate(length as usize);
        entries
    }

    /// Sets where each CPU begins in a new service's wheel: spread out, so that CPUs
    /// with few connections each don't all give them to the first backend.
    ///
    /// # Panics
    ///
    /// When there is no service of that number.
    pub fn reset_cursor(&self, service: u32, length: u32) {
        assert!(service < limits::MAX_SERVICES);
        let cpus = self.cursors.length() / limits::MAX_SERVICES;
        for cpu in 0..cpus {
            let next = u64::from(cpu) * u64::from(length) / u64::from(cpus);
            let place = cpu * limits::MAX_SERVICES + service;
            self.cursors.store(place, &Cursor { next });
        }
    }

    /// Replaces the routes of the return path to IPv4 clients, most specific first.
    /// Those beyond [`limits::MAX_ROUTES`] are left out, and what they are for is left to
    /// the kernel.
    pub fn put_routes(&self, routes: &[Route]) {
        routes::replace(&self.routes, routes);
    }

    /// As [`Tables::put_routes`], to IPv6 clients.
    pub fn put_routes6(&self, routes: &[Route6]) {
        routes::replace(&self.routes6, routes);
    }

    /// The routes of the return path to IPv4 clients.
    #[must_use]
    pub fn routes(&self) -> Vec<Route> {
        (0..limits::MAX_ROUTES)
            .map(|i| self.routes.load(i))
            .collect()
    }

    /// Those to IPv6 clients.
    #[must_use]
    pub fn routes6(&self) -> Vec<Route6> {
        (0..limits::MAX_ROUTES)
            .map(|i| self.routes6.load(i))
            .collect()
    }

    /// Sets how an on-link client is reached; `None` forgets it.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`], for one when the map is full.
    pub fn put_neighbour(&mut self, at: IpAddr, hop: Option<Hop>) -> Result<(), DatapathError> {
        let (family, address) = plan::words(at);
        let hop = hop.map(Plain);
        let result = match (family, hop) {
            (Family::V4, Some(hop)) => self.neighbours.insert(address[0], hop, 0),
            (Family::V4, None) => self.neighbours.remove(&address[0]),
            (Family::V6, Some(hop)) => self.neighbours6.insert(address, hop, 0),
            (Family::V6, None) => self.neighbours6.remove(&address),
        };
        match result {
            Err(aya::maps::MapError::KeyNotFound) if hop.is_none() => Ok(()),
            result => result.map_err(|e| kernel_error("setting a neighbour", &e)),
        }
    }

    /// Every on-link client that can be reached.
    #[must_use]
    pub fn neighbours(&self) -> Vec<(IpAddr, Hop)> {
        let of_v4 = self
            .neighbours
            .iter()
            .flatten()
            .map(|(word, hop)| (plan::ip(Family::V4, [word, 0, 0, 0]), hop.0));
        let of_v6 = self
            .neighbours6
            .iter()
            .flatten()
            .map(|(address, hop)| (plan::ip(Family::V6, address), hop.0));
        of_v4.chain(of_v6).collect()
    }

    /// Sets the addresses of the `full-nat` pool, those of IPv4 first. They don't change
    /// while flows have their ports.
    pub fn put_pool(&mut self, addresses: &[IpAddr]) {
        for (place, &address) in addresses.iter().enumerate() {
            let (_, words) = plan::words(address);
            self.pool.store(place as u32, &words);
        }
    }

    /// Checks that the pool has these addresses, each at its place.
    ///
    /// # Errors
    ///
    /// [`DatapathError::OtherPool`].
    pub fn check_pool(&self, addresses: &[IpAddr]) -> Result<(), DatapathError> {
        let found = self.pool();
        if found == addresses {
            return Ok(());
        }
        Err(DatapathError::OtherPool {
            found: listed(&found),
            asked: listed(addresses),
        })
    }

    /// The addresses of the `full-nat` pool.
    #[must_use]
    pub fn pool(&self) -> Vec<IpAddr> {
        let shape = self.identity.load(0).pool;
        let places = 0..u32::from(shape.v4) + u32::from(shape.v6);
        let address = |place: u32| {
            let words = self.pool.load(place);
            let family = match place < u32::from(shape.v4) {
                true => Family::V4,
                false => Family::V6,
            };
            plan::ip(family, words)
        };
        places.map(address).collect()
    }

    /// The interfaces by their place in the device map; 0 for none.
    #[must_use]
    pub fn devices(&self) -> Vec<u32> {
        (0..limits::MAX_INTERFACES)
            .map(|slot| {
                self.devices
                    .get(slot, 0)
                    .map_or(0, |device| device.if_index)
            })
            .collect()
    }

    /// Keeps the device map of `object`, which is loaded for several buffers, the same as
    /// the other from now on.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    ///
    /// # Panics
    ///
    /// When the object lacks the map, or it was taken before.
    pub fn follow_devices(&mut self, object: &mut Object) -> Result<(), DatapathError> {
        let map = object.ebpf.take_map(DEVICES);
        let map = map.expect("the object has this map");
        let devices = DevMap::try_from(map).expect("the map has its kind by its declaration");
        self.devices_frags = Some(devices);
        for (slot, ifindex) in self.devices().into_iter().enumerate() {
            if ifindex != 0 {
                self.put_device(slot as u32, ifindex)?;
            }
        }
        Ok(())
    }

    /// Puts an interface of this network namespace into the device maps.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    pub fn put_device(&mut self, slot: u32, ifindex: u32) -> Result<(), DatapathError> {
        for devices in [Some(&mut self.devices), self.devices_frags.as_mut()] {
            let Some(devices) = devices else { continue };
            devices
                .set(slot, ifindex, None, 0)
                .map_err(|e: XdpMapError| {
                    kernel_error("adding an interface to the device map", &e)
                })?;
        }
        Ok(())
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    texts.join(", ")
}
