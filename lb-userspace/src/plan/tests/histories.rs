//! Any history of targets.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use lb_common::{
    abi::{BackendState, Forward, Kind, Range, family_of, protocol_of, selector},
    wheel::Index,
};
use proptest::prelude::*;

use super::{any_target::target, twin::Twin, vip};
use crate::{
    config::model::Protocol,
    plan::{Id, Model, Placed, ServiceKey, Target, Way, plan, words},
};

const PORTS: [u16; 8] = [79, 80, 84, 89, 90, 99, 100, 40_000];

/// The service that a packet should find: its port.
fn wanted(target: &Target, vip: IpAddr, port: u16, protocol: Protocol) -> Option<u16> {
    let mut found = None;
    for (key, service) in &target.services {
        if (key.vip, key.protocol) != (vip, protocol) {
            continue;
        }
        match service.range {
            None if key.port == port => return Some(port),
            Some(Range { first: 0, .. }) => found = found.or(Some(0)),
            Some(range) if (range.first..=range.last).contains(&port) => found = Some(key.port),
            _ => {}
        }
    }
    found
}

/// No port leads elsewhere than it did before, or will.
fn check_ports(twin: &Twin, before: &Target, after: &Target) {
    for vip in (0..4).map(vip) {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let number = if protocol == Protocol::Tcp { 6 } else { 17 };
            for port in PORTS {
                let (a, b) = (
                    wanted(before, vip, port, protocol),
                    wanted(after, vip, port, protocol),
                );
                let there = twin.find(vip, port, number);
                assert!(there == a || there == b, "{vip} {port}: {there:?}");
            }
        }
    }
}

/// The number of a wanted backend.
fn number(model: &Model, key: ServiceKey, at: (SocketAddr, Forward)) -> u16 {
    let id = Id {
        service: key,
        server: at.0,
        forward: at.1,
    };
    model.backends[&id]
}

fn check_done(twin: &Twin, model: &Model, target: &Target) {
    assert_eq!(twin.of_kind(Kind::Service).count(), target.services.len());
    for (key, service) in &target.services {
        for (server, wanted) in &service.backends {
            let number = number(model, *key, (*server, wanted.forward));
            let record = twin.backends[&number];
            match wanted.way {
                Way::Known(hop, _) => {
                    assert_eq!(record.state, wanted.state as u8);
                    assert_eq!((record.tags, record.mtu), (hop.tags, hop.mtu));
                    assert_eq!(u16::from(record.egress), hop.egress);
                }
                Way::Barred => assert_eq!(record.state, BackendState::Down as u8),
                Way::Unknown => {}
            }
            assert_eq!(record.forward, wanted.forward as u8);
            assert_eq!(record.protocol, key.protocol_number());
            assert_eq!(record.hint, record.hinted().hint);
            let weight = twin.weights.get(&number).copied().unwrap_or(0);
            let measured = if service.index == Index::Load {
                wanted.weight
            } else {
                0
            };
            assert_eq!(weight, measured, "backend {number}");
        }
        let placed = &model.services[key];
        let (family, address) = words(key.vip);
        let selector = selector(
            family,
            key.port.to_be(),
            key.protocol_number(),
            Kind::Service,
        );
        let endpoint = &twin.endpoints[&(address, selector)];
        assert_eq!(twin.wheel(endpoint), placed.places.slots());
    }
    for (place, &address) in target.pool.iter().enumerate() {
        let (family, words) = words(address);
        let endpoint = &twin.endpoints[&(words, selector(family, 0, 0, Kind::Vip))];
        assert_eq!(usize::from(endpoint.index), place + 1);
    }
}

proptest! {
    /// Through any history of targets, every packet between any two writes finds a whole
    /// table; and at the end the maps say what they should.
    #[test]
    fn every_prefix_of_a_plan_is_sound(targets in prop::collection::vec(target(), 1..6)) {
        let mut twin = Twin::new();
        let mut model = Model::default();
        let mut now = Instant::now();
        let mut before = Target::default();
        for target in &targets {
            let plan = plan(&model, target, now).unwrap();
            for write in &plan.writes {
                twin.write(write, &|twin| {
                    twin.check();
                    check_ports(twin, &before, target);
                });
            }
            model = plan.model;
            now += Duration::from_millis(60);
            check_done(&twin, &model, target);
            check_ports(&twin, target, target);
            // Nothing is left to do.
            prop_assert_eq!(crate::plan::plan(&model, target, now).unwrap().writes, vec![]);
            before = target.clone();
        }
    }

    /// A daemon that comes after finds in the maps what the one before knew.
    #[test]
    fn what_was_written_is_found_again(targets in prop::collection::vec(target(), 1..4)) {
        let mut twin = Twin::new();
        let mut model = Model::default();
        let now = Instant::now();
        for target in &targets {
            let plan = plan(&model, target, now).unwrap();
            plan.writes.iter().for_each(|write| twin.write(write, &|_| ()));
            model = plan.model;
        }
        let mut found = Model::default();
        for service in twin.of_kind(Kind::Service) {
            let (port, protocol) = (service.selector as u16, protocol_of(service.selector));
            let family = family_of(service.selector);
            let key = ServiceKey::from_words(family, service.address, port, protocol).unwrap();
            found.services.insert(key, Placed::found(service, twin.wheel(service).to_vec(), now));
        }
        for (&number, record) in &twin.backends {
            found.found_backend(number, *record, twin.tunnels.get(&number).copied());
        }
        prop_assert_eq!(&found.backends, &model.backends);
        prop_assert_eq!(&found.tunnels, &model.tunnels);
        prop_assert_eq!(&found.records, &model.records);
        prop_assert_eq!(found.retired().count(), model.retired().count());
    }
}
