//! What a daemon that was here before has left in the maps.

use std::time::Instant;

use lb_common::{
    abi::{Endpoint, Forward, Kind, Route, family_of, kind_of, protocol_of},
    hash::FlowKeys,
    limits,
};

use super::Tables;
use crate::plan::{self, Model, Placed, ServiceKey};

impl Tables {
    /// Reads what the maps hold.
    #[must_use]
    pub fn recover(&self) -> Model {
        let mut model = Model::default();
        let now = Instant::now();
        model.flow_keys = FlowKeys(self.identity.load(0).flow_keys);
        for endpoint in self.endpoints.iter() {
            self.recover_endpoint(&endpoint, &mut model, now);
        }
        for number in 1..=limits::MAX_BACKENDS as u16 {
            let record = self.backends.load(u32::from(number));
            if record.protocol != 0 {
                let forward = Forward::from_byte(record.forward);
                let tunnel = forward
                    .filter(|forward| forward.overhead() > 0)
                    .map(|_| self.tunnels.load(u32::from(number)));
                model.found_backend(number, record, tunnel);
                let weight = self.loads.load(u32::from(number)).weight;
                if weight != 0 {
                    model.weights.insert(number, weight as u16);
                }
            }
        }
        let (routes, routes6) = (self.routes(), self.routes6());
        let in_use = routes.into_iter().take_while(|r| r.kind != Route::END);
        model.routes = in_use.collect();
        let in_use = routes6.into_iter().take_while(|r| r.kind != Route::END);
        model.routes6 = in_use.collect();
        model.neighbours = self.neighbours().into_iter().collect();
        model
    }

    fn recover_endpoint(&self, endpoint: &Endpoint, model: &mut Model, now: Instant) {
        let Endpoint {
            address, selector, ..
        } = *endpoint;
        let family = family_of(selector);
        let (port, protocol) = (selector as u16, protocol_of(selector));
        match kind_of(selector) {
            kind if kind == Kind::Service as u32 => {
                let Some(key) = ServiceKey::from_words(family, address, port, protocol) else {
                    return;
                };
                let wheel = endpoint.wheel();
                let slots = self.wheel(wheel.chunk, wheel.length);
                model.chunks.occupy(wheel);
                model
                    .services
                    .insert(key, Placed::found(endpoint, slots, now));
            }
            kind if kind == Kind::Vip as u32 => {
                model.vips.insert(plan::ip(family, address), *endpoint);
            }
            kind if kind == Kind::Server as u32 => {
                let first = endpoint.number() as u16;
                model.servers.insert((address, selector), first);
            }
            _ => {}
        }
    }
}
