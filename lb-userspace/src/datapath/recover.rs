//! What a daemon that was here before has left in the maps.

use std::net::Ipv4Addr;

use lb_common::{
    abi::{Kind, Route},
    hash::FlowKeys,
    limits,
    wheel::Index,
};

use super::Tables;
use crate::plan::{Model, Placed, ServiceKey};

impl Tables {
    /// Reads what the maps hold.
    #[must_use]
    pub fn recover(&self) -> Model {
        let mut model = Model::default();
        model.flow_keys = FlowKeys(self.identity.load(0).flow_keys);
        for number in 1..=limits::MAX_BACKENDS as u16 {
            let record = self.backends.load(u32::from(number));
            if record.protocol != 0 {
                model.found_backend(number, record);
            }
        }
        for endpoint in self.endpoints.iter() {
            let (port, protocol) = (endpoint.selector as u16, (endpoint.selector >> 16) as u8);
            let address = endpoint.address[0];
            match endpoint.selector >> 24 {
                kind if kind == Kind::Service as u32 => {
                    let Some(key) = ServiceKey::from_words(address, port, protocol) else {
                        continue;
                    };
                    let index = match endpoint.index {
                        0 => Index::Counter,
                        _ => Index::Hash,
                    };
                    let wheel = endpoint.wheel;
                    let entries = self.wheel(wheel.chunk, wheel.length);
                    model.chunks.occupy(wheel);
                    let placed = Placed::found(endpoint.number, index, wheel, entries);
                    model.services.insert(key, placed);
                }
                kind if kind == Kind::Vip as u32 => {
                    model.vips.insert(Ipv4Addr::from(address.to_ne_bytes()));
                }
                kind if kind == Kind::Server as u32 => {
                    model
                        .servers
                        .insert((address, endpoint.selector), endpoint.number as u16);
                }
                _ => {}
            }
        }
        model.routes = self
            .routes()
            .into_iter()
            .take_while(|r| r.kind != Route::END)
            .collect();
        model.neighbours = self.neighbours().into_iter().collect();
        model
    }
}
