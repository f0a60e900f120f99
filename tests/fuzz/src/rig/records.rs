//! The site as records in the maps.

use std::net::IpAddr;

use anyhow::Result;
use lb_common::{
    abi::{
        self, Address, BackendState, Endpoint, Family, Forward, Keeping, NO_GROUP, Range, Route6,
        Wheel, ipv4, ipv6,
    },
    hash::{FlowKeys, Seed},
    tags::{SERVICE_TAG, Tags},
    wheel::{Index, Slot},
};

use super::Rig;
use crate::{
    bytes::octets,
    site::{Backend, GUE_PORT, Hop, Memory, Mode, Route, Service, Site, Standing, TCP, UDP, Way},
};

/// The other interface's place in the device map; ours has 0.
pub const OTHER_SLOT: u32 = 5;

fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

fn words(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => ipv4(address.octets()),
        IpAddr::V6(address) => ipv6(address.octets()),
    }
}

fn hop(hop: &Hop) -> abi::Hop {
    let tags = hop.tags.iter().rev().fold(Tags::NONE, |tags, &(kind, id)| {
        tags.within(id, kind == SERVICE_TAG)
    });
    abi::Hop {
        egress: if hop.other { OTHER_SLOT as u16 } else { 0 },
        mtu: hop.mtu,
        tags,
        destination: hop.to,
        source: hop.from(),
        reserved: [0; 4],
    }
}

/// A group that is never held.
const NOT_HELD: u32 = 1;

/// A backend's record.
pub fn backend(site: &Site, backend: &Backend) -> abi::Backend {
    let service = &site.services[backend.service];
    let hop = hop(&backend.hop);
    abi::Backend {
        address: words(backend.address),
        vip: words(service.vip),
        port: backend.port.to_be(),
        vip_port: service.ports.start().to_be(),
        service: backend.service as u16,
        sharing: backend.sharing,
        egress: hop.egress as u8,
        protocol: service.protocol,
        mtu: hop.mtu,
        tags: hop.tags,
        destination: hop.destination,
        source: hop.source,
        state: match backend.standing {
            Standing::Active => BackendState::Active,
            Standing::Draining => BackendState::Draining,
            Standing::Down => BackendState::Down,
        } as u8,
        forward: match backend.mode {
            Mode::Dsr => Forward::Dsr,
            Mode::Nat => Forward::Nat,
            Mode::FullNat => Forward::FullNat,
            Mode::Ip4 => Forward::Ip4,
            Mode::Ip6 => Forward::Ip6,
            Mode::Gue4 => Forward::Gue4,
            Mode::Gue6 => Forward::Gue6,
        } as u8,
        hint: 0,
    }
    .hinted()
}

fn seed(keys: &FlowKeys, service: &Service) -> Seed {
    let port = service.ports.start().to_be();
    keys.seed(
        family(service.vip),
        words(service.vip),
        port,
        service.protocol,
    )
}

/// A mask of so many leading ones, as it lies in a packet.
fn mask(bits: u8, octets: usize) -> Vec<u8> {
    (0..octets)
        .map(|place| {
            let ones = usize::from(bits).saturating_sub(place * 8).min(8);
            !(0xffu32 >> ones) as u8
        })
        .collect()
}

fn long(octets: &[u8]) -> u32 {
    u32::from_ne_bytes([octets[0], octets[1], octets[2], octets[3]])
}

fn way(route: &Route) -> (u32, abi::Hop) {
    match &route.way {
        Way::Via(to) => (abi::Route::VIA, hop(to)),
        Way::OnLink => (abi::Route::ON_LINK, abi::Hop::NONE),
        Way::Kernel => (abi::Route::KERNEL, abi::Hop::NONE),
    }
}

impl Rig {
    /// Writes the whole site.
    pub(super) fn fill(&mut self) -> Result<()> {
        let site = self.site.clone();
        self.vips(&site)?;
        for number in 1..site.backends.len() as u16 {
            if let Some(one) = site.backend(number) {
                self.tables
                    .backends
                    .store(u32::from(number), &backend(&site, one));
                self.tunnel(one);
            }
        }
        for service in 0..site.services.len() {
            self.put_service(service)?;
        }
        self.servers(&site)?;
        self.routes(&site)
    }

    fn vips(&mut self, site: &Site) -> Result<()> {
        for vip in &site.vips {
            let address = vip.address;
            let place = site.pool.addresses.iter().position(|a| *a == address);
            let group = if vip.held { NO_GROUP } else { NOT_HELD };
            let place = place.map(|place| place as u8);
            let record = Endpoint::vip(family(address), words(address), group, place);
            let ranges: Vec<_> = site
                .services
                .iter()
                .filter(|service| service.vip == address && service.ports.len() > 1)
                .map(|service| {
                    let range = Range {
                        first: *service.ports.start(),
                        last: *service.ports.end(),
                    };
                    (range, service.protocol == TCP, service.protocol == UDP)
                })
                .collect();
            self.tables.put_endpoint(&record.with_ranges(&ranges))?;
        }
        Ok(())
    }

    fn tunnel(&self, backend: &Backend) {
        if let Some(tunnel) = backend.tunnel {
            let record = abi::Tunnel {
                source: words(tunnel.source),
                varying: words(tunnel.varying),
                port: if backend.mode.is_gue() {
                    GUE_PORT.to_be()
                } else {
                    0
                },
                ..abi::Tunnel::NONE
            };
            self.tables
                .tunnels
                .store(u32::from(backend.number), &record);
        }
    }

    /// Writes a service and its wheel.
    pub(super) fn put_service(&mut self, place: usize) -> Result<()> {
        let service = &self.site.services[place];
        let keys = FlowKeys(self.identity.flow_keys);
        let wheel = Wheel {
            chunk: place as u32,
            length: service.wheel.len() as u32,
        };
        let place_of = |number| match service.memory {
            Memory::All | Memory::Nothing => Slot::stable(number),
            Memory::Changes { before } => Slot::moving(number, before),
            Memory::Rest => Slot::tracked(number),
        };
        let places: Vec<Slot> = service.wheel.iter().copied().map(place_of).collect();
        self.tables.put_wheel(wheel.chunk, &places);
        let record = Endpoint::service(
            &keys,
            family(service.vip),
            words(service.vip),
            service.ports.start().to_be(),
            service.protocol,
            match (service.full_nat, service.memory) {
                (true, _) => Keeping::Ports,
                (false, Memory::All) => Keeping::Flows,
                (false, Memory::Nothing | Memory::Changes { .. } | Memory::Rest) => {
                    Keeping::Changes
                }
            },
            if service.takes_turns {
                Index::Counter
            } else {
                Index::Hash
            },
            place as u32,
            wheel,
        );
        Ok(self.tables.put_endpoint(&record)?)
    }

    fn servers(&mut self, site: &Site) -> Result<()> {
        let keys = FlowKeys(self.identity.flow_keys);
        // The first of those that share a server is found by it, the others by the first.
        let mut shared: Vec<u16> = Vec::new();
        for backend in site.backends.iter().flatten() {
            if backend.sharing != 0 {
                shared.push(backend.sharing);
            }
            if backend.mode != Mode::Nat || shared.contains(&backend.number) {
                continue;
            }
            let service = &site.services[backend.service];
            let record = Endpoint::server(
                family(backend.address),
                words(backend.address),
                backend.port.to_be(),
                service.protocol,
                backend.number,
                seed(&keys, service),
            );
            self.tables.put_endpoint(&record)?;
        }
        Ok(())
    }

    fn routes(&mut self, site: &Site) -> Result<()> {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for route in &site.routes {
            let (kind, hop) = way(route);
            match route.prefix {
                IpAddr::V4(_) => four.push(abi::Route {
                    prefix: long(&octets(route.prefix)),
                    mask: long(&mask(route.bits, 4)),
                    kind,
                    reserved: 0,
                    hop,
                }),
                IpAddr::V6(_) => {
                    let mut bits = [0; 16];
                    bits.copy_from_slice(&mask(route.bits, 16));
                    six.push(Route6 {
                        prefix: words(route.prefix),
                        mask: ipv6(bits),
                        kind,
                        reserved: 0,
                        hop,
                    });
                }
            }
        }
        self.tables.put_routes(&four);
        self.tables.put_routes6(&six);
        for (&address, to) in &site.neighbours {
            self.tables.put_neighbour(address, Some(hop(to)))?;
        }
        Ok(())
    }
}
