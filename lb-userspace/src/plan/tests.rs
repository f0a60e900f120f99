use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use lb_common::{
    abi::{Backend, BackendState, Endpoint, Forward, Hop, Kind, WHEEL_CHUNK, selector},
    limits,
    wheel::Index,
};
use proptest::prelude::*;

use super::*;
use crate::config::model::Protocol;

/// The maps in memory, as the data plane would see them.
struct Twin {
    endpoints: BTreeMap<(u32, u32), Endpoint>,
    backends: BTreeMap<u16, Backend>,
    wheels: Vec<u16>,
}

impl Twin {
    fn new() -> Self {
        Twin {
            endpoints: BTreeMap::new(),
            backends: BTreeMap::new(),
            wheels: vec![0; limits::WHEEL_ENTRIES as usize],
        }
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Backend(number, record) => {
                self.backends.insert(*number, *record);
            }
            Write::Wheel(chunk, entries) => {
                let start = (chunk * WHEEL_CHUNK) as usize;
                self.wheels[start..start + entries.len()].copy_from_slice(entries);
            }
            Write::Endpoint(endpoint) => {
                self.endpoints
                    .insert((endpoint.address[0], endpoint.selector), *endpoint);
            }
            Write::RemoveEndpoint(address, selector) => {
                self.endpoints
                    .remove(&(*address, *selector))
                    .expect("only what is there goes");
            }
            Write::ResetCounters(_)
            | Write::ResetCursor(..)
            | Write::Routes(_)
            | Write::Neighbour(..) => {}
        }
    }

    fn wheel(&self, service: &Endpoint) -> &[u16] {
        let start = (service.wheel.chunk * WHEEL_CHUNK) as usize;
        &self.wheels[start..start + service.wheel.length as usize]
    }

    /// What must hold for a packet that comes between any two writes.
    fn check(&self) {
        for service in self
            .endpoints
            .values()
            .filter(|e| e.selector >> 24 == Kind::Service as u32)
        {
            for number in self.wheel(service) {
                let record = &self.backends[number];
                let its = selector(record.vip_port, record.protocol, Kind::Service);
                assert_eq!((record.vip[0], its), (service.address[0], service.selector));
                assert_eq!(record.state, BackendState::Active as u8, "backend {number}");
                assert_ne!(record.ifindex, 0, "backend {number} has no way");
            }
        }
        for server in self
            .endpoints
            .values()
            .filter(|e| e.selector >> 24 == Kind::Server as u32)
        {
            let record = &self.backends[&(server.number as u16)];
            let its = selector(record.port, record.protocol, Kind::Server);
            assert_eq!(
                (record.address[0], its),
                (server.address[0], server.selector)
            );
        }
    }
}

fn hop(n: u8) -> Hop {
    Hop {
        ifindex: 2,
        egress: 0,
        destination: [2, 0, 0, 0, 0, n],
        source: [2, 0, 0, 0, 1, 0],
        reserved: [0; 4],
    }
}

fn key(n: u8) -> ServiceKey {
    ServiceKey {
        vip: Ipv4Addr::new(203, 0, 113, 10 + n / 2),
        port: 80 + u16::from(n % 2),
        protocol: Protocol::Tcp,
    }
}

fn backend() -> impl Strategy<Value = TargetBackend> {
    let state = prop::sample::select(vec![
        BackendState::Active,
        BackendState::Active,
        BackendState::Draining,
        BackendState::Down,
    ]);
    (1u16..5, state, prop::option::weighted(0.9, 0u8..3)).prop_map(|(weight, state, mac)| {
        TargetBackend {
            weight,
            state,
            hop: mac.map(hop),
        }
    })
}

fn service() -> impl Strategy<Value = TargetService> {
    (
        prop::collection::btree_map(1u8..7, backend(), 0..6),
        any::<bool>(),
    )
        .prop_map(|(backends, nat)| TargetService {
            index: Index::Counter,
            forward: if nat { Forward::Nat } else { Forward::Dsr },
            backends: backends
                .into_iter()
                .map(|(n, b)| (SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, n), 80), b))
                .collect(),
        })
}

fn target() -> impl Strategy<Value = Target> {
    prop::collection::btree_map((0u8..6).prop_map(key), service(), 0..5).prop_map(|services| {
        Target {
            services,
            ..Target::default()
        }
    })
}

proptest! {
    /// Through any history of targets, every packet between any two writes finds a whole
    /// table; and at the end the maps say what they should.
    #[test]
    fn every_prefix_of_a_plan_is_sound(targets in prop::collection::vec(target(), 1..6)) {
        let mut twin = Twin::new();
        let mut model = Model::default();
        let mut now = Instant::now();
        for target in &targets {
            let plan = plan(&model, target, now).unwrap();
            for write in &plan.writes {
                twin.write(write);
                twin.check();
            }
            model = plan.model;
            now += Duration::from_millis(60);
            let services = twin.endpoints.values().filter(|e| e.selector >> 24 == Kind::Service as u32);
            prop_assert_eq!(services.count(), target.services.len());
            for (key, service) in &target.services {
                for (server, wanted) in &service.backends {
                    let record = &twin.backends[&model.backends[&(*key, *server)]];
                    if wanted.hop.is_some() {
                        prop_assert_eq!(record.state, wanted.state as u8);
                    }
                    prop_assert_eq!(record.forward, service.forward as u8);
                }
                let placed = &model.services[key];
                let selector = selector(key.port.to_be(), 6, Kind::Service);
                let endpoint = &twin.endpoints[&(ipv4(key.vip.octets())[0], selector)];
                prop_assert_eq!(twin.wheel(endpoint), &placed.entries[..]);
            }
            // Nothing is left to do.
            prop_assert_eq!(super::plan(&model, target, now).unwrap().writes, vec![]);
        }
    }
}

fn one(state: BackendState) -> Target {
    let backends = (1..3)
        .map(|n| {
            let server = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, n), 80);
            let state = if n == 2 { state } else { BackendState::Active };
            (
                server,
                TargetBackend {
                    weight: 1,
                    state,
                    hop: Some(hop(n)),
                },
            )
        })
        .collect();
    let service = TargetService {
        index: Index::Counter,
        forward: Forward::Dsr,
        backends,
    };
    Target {
        services: BTreeMap::from([(key(0), service)]),
        ..Target::default()
    }
}

#[test]
fn a_failed_backend_leaves_the_wheel_before_its_flows_move() {
    let now = Instant::now();
    let first = plan(&Model::default(), &one(BackendState::Active), now).unwrap();
    let second = plan(&first.model, &one(BackendState::Down), now).unwrap();
    let flip = second
        .writes
        .iter()
        .position(|w| matches!(w, Write::Endpoint(_)))
        .unwrap();
    let down = second
        .writes
        .iter()
        .position(|w| matches!(w, Write::Backend(2, _)))
        .unwrap();
    assert!(flip < down, "{:?}", second.writes);
}

#[test]
fn a_number_rests_until_no_flow_names_it() {
    let now = Instant::now();
    let mut model = plan(&Model::default(), &one(BackendState::Active), now)
        .unwrap()
        .model;
    let mut less = one(BackendState::Active);
    less.services
        .values_mut()
        .for_each(|service| service.backends.truncate(1));
    model = plan(&model, &less, now).unwrap().model;
    assert_eq!(model.release(|number| number == 2), [0u16; 0]);
    assert_eq!(model.retired().count(), 1);
    // It comes back as who it was.
    let back = plan(&model, &one(BackendState::Active), now).unwrap();
    assert!(
        !back
            .writes
            .iter()
            .any(|w| matches!(w, Write::ResetCounters(_)))
    );
    assert_eq!(
        back.model.backends.values().copied().collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(model.release(|_| false), [2]);
    assert_eq!(model.retired().count(), 0);
}

#[test]
fn a_backend_that_was_never_reachable_is_down() {
    let mut target = one(BackendState::Active);
    let service = target.services.values_mut().next().unwrap();
    service.backends[1].1.hop = None;
    let plan = plan(&Model::default(), &target, Instant::now()).unwrap();
    assert_eq!(plan.model.records[&2].state, BackendState::Down as u8);
    assert_eq!(plan.model.services[&key(0)].entries, [1]);
}

#[test]
fn as_many_backends_as_there_can_be_are_planned_quickly() {
    let backends = (0..limits::MAX_BACKENDS)
        .map(|n| {
            let server = SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + n), 80);
            (
                server,
                TargetBackend {
                    weight: 1,
                    state: BackendState::Active,
                    hop: Some(hop(1)),
                },
            )
        })
        .collect();
    let service = TargetService {
        index: Index::Counter,
        forward: Forward::Nat,
        backends,
    };
    let target = Target {
        services: BTreeMap::from([(key(0), service)]),
        ..Target::default()
    };
    let plan = plan(&Model::default(), &target, Instant::now()).unwrap();
    assert_eq!(plan.model.services[&key(0)].entries.len(), 65_535);
}
