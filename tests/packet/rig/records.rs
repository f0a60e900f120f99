//! What is put into the maps: services, servers, backends, routes.

use std::net::IpAddr;

use lb_common::{
    abi::{Backend, BackendState, Endpoint, Hop, Keeping, Route, Route6, Tunnel, Wheel},
    hash::FlowKeys,
    wheel::{Index, Slot},
};

use super::{Place, Rig, words};
use crate::{frame::Socket, site::VIP};

/// Chunks between the wheels of two services.
const WHEEL_STRIDE: u32 = 8;

impl Rig {
    /// Puts an endpoint.
    pub fn endpoint(&mut self, endpoint: &Endpoint) {
        self.tables.put_endpoint(endpoint).expect("room");
    }

    /// A service of the VIP.
    pub fn service(&mut self, port: u16, protocol: u8, index: Index, wheel: &[u16]) {
        let place = (VIP.into(), port, protocol);
        self.service_at(place, Keeping::Flows, index, wheel);
    }

    /// A service of any VIP.
    pub fn service_at(&mut self, place: Place, keeping: Keeping, index: Index, wheel: &[u16]) {
        let number = self.services;
        self.services += 1;
        let at = Wheel {
            chunk: number * WHEEL_STRIDE,
            length: 0,
        };
        let keys = FlowKeys(self.identity.flow_keys);
        let (vip, port, protocol) = place;
        let (family, vip) = words(vip);
        let service = Endpoint::service(
            &keys,
            family,
            vip,
            port.to_be(),
            protocol,
            keeping,
            index,
            number,
            at,
        );
        self.endpoints.insert(place, service);
        self.wheel_at(place, wheel);
    }

    /// A server that is backend `number`, whose service of the VIP has `vip_port`.
    pub fn server(&mut self, server: Socket, protocol: u8, number: u16, vip_port: u16) {
        let server = (server.0.into(), server.1);
        self.server_at(server, number, (VIP.into(), vip_port, protocol));
    }

    /// A server that is backend `number` of the service at `place`.
    pub fn server_at(&mut self, server: (IpAddr, u16), number: u16, place: Place) {
        let seed = self.seed(place);
        let (family, address) = words(server.0);
        let port = server.1.to_be();
        self.endpoint(&Endpoint::server(
            family, address, port, place.2, number, seed,
        ));
    }

    /// Another wheel for a service of the VIP.
    pub fn wheel(&mut self, port: u16, protocol: u8, wheel: &[u16]) {
        self.wheel_at((VIP.into(), port, protocol), wheel);
    }

    /// Another wheel for a service, in the same chunks.
    pub fn wheel_at(&mut self, place: Place, wheel: &[u16]) {
        let places: Vec<Slot> = wheel.iter().copied().map(Slot::stable).collect();
        self.places(place, &places);
    }

    /// From its next wheel on a service knows its clients by so many bits.
    pub fn prefix(&mut self, place: Place, bits: u8) {
        let service = self.endpoints[&place].with_prefix(bits);
        self.endpoints.insert(place, service);
    }

    /// Another wheel for a service, place by place.
    pub fn places(&mut self, place: Place, wheel: &[Slot]) {
        let service = self.endpoints[&place];
        let at = Wheel {
            length: wheel.len() as u32,
            ..service.wheel()
        };
        self.tables.put_wheel(at.chunk, wheel);
        self.endpoint(&service.with_wheel(at));
    }

    /// The routes to clients, and the neighbours among them.
    pub fn routes(&mut self, four: &[Route], six: &[Route6], neighbours: &[(IpAddr, Hop)]) {
        self.tables.put_routes(four);
        self.tables.put_routes6(six);
        for &(address, hop) in neighbours {
            self.tables.put_neighbour(address, Some(hop)).expect("room");
            self.neighbours.push(address);
        }
    }

    /// What a backend's outer headers say.
    pub fn tunnel(&mut self, number: u16, tunnel: &Tunnel) {
        self.tables.tunnels.store(u32::from(number), tunnel);
    }

    /// Puts a backend.
    pub fn backend(&mut self, number: u16, backend: &Backend) {
        self.numbers.insert(number);
        let backend = backend.hinted();
        self.tables.backends.store(u32::from(number), &backend);
    }

    /// Every backend that there is.
    pub fn numbers(&self) -> Vec<u16> {
        self.numbers.iter().copied().collect()
    }

    /// Sets a backend's state.
    pub fn state(&mut self, number: u16, state: BackendState) {
        let mut backend = self.tables.backends.load(u32::from(number));
        backend.state = state as u8;
        self.backend(number, &backend);
    }
}
