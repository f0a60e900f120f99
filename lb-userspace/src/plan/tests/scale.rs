//! The largest configuration: what is looked at grows with what changes, and every wheel
//! has room for another in its place.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use lb_common::{
    abi::{BackendState, Forward, Keeping},
    limits::{MAX_BACKENDS, MAX_SERVICES},
    wheel::Index,
};

use super::{hop, tunnel};
use crate::{
    config::model::Protocol,
    plan::{
        GRACE, Model, ServiceKey, Target, TargetBackend, TargetService, Way, Write, plan,
        plan_services, work,
    },
};

fn key(service: u32) -> ServiceKey {
    ServiceKey {
        vip: IpAddr::V4(Ipv4Addr::from_bits(0xcb00_0000 + service)),
        port: 80,
        protocol: Protocol::Tcp,
    }
}

/// As many services as there can be, which share all backends. `first` is the first server's
/// number.
fn largest(index: Index, first: u32) -> Target {
    let mut target = Target::default();
    for service in 0..MAX_SERVICES {
        let numbers = (service..MAX_BACKENDS).step_by(MAX_SERVICES as usize);
        let backend = |number: u32| {
            let backend = TargetBackend {
                forward: Forward::Dsr,
                weight: 1,
                backup: false,
                state: BackendState::Active,
                way: Way::Known(hop(1), tunnel(1)),
            };
            let address = Ipv4Addr::from_bits(0x0a00_0000 + first + number);
            (SocketAddr::from((address, 80)), backend)
        };
        let service_of = TargetService {
            index,
            prefix: 0,
            range: None,
            keeping: match index.is_steady() {
                true => Keeping::Changes,
                false => Keeping::Flows,
            },
            backends: numbers.map(backend).collect(),
        };
        target.services.insert(key(service), service_of);
    }
    target
}

fn put_down(target: &mut Target, service: u32) {
    let service = target.services.get_mut(&key(service)).unwrap();
    service.backends[0].1.state = BackendState::Down;
}

const ALL: u64 = (MAX_SERVICES + MAX_BACKENDS) as u64;

#[test]
fn what_is_looked_at_grows_with_what_changes() {
    let now = Instant::now();
    let mut target = largest(Index::Counter, 0);
    let (first, steps) = work::of(|| plan(&Model::default(), &target, now).unwrap());
    assert!(steps <= 3 * ALL, "{steps}");
    let (same, steps) = work::of(|| plan(&first.model, &target, now).unwrap());
    assert_eq!((same.writes.len(), steps), (0, 0));

    put_down(&mut target, 7);
    let (second, steps) = work::of(|| plan(&first.model, &target, now).unwrap());
    assert!(steps <= 64, "{steps}");
    assert_eq!(
        second.writes.len(),
        3,
        "a wheel, its service, and the backend"
    );
    // The same, by one that looks at nothing else.
    let only = BTreeSet::from([key(7)]);
    let (third, steps) = work::of(|| plan_services(first.model, &target, only, now).unwrap());
    assert_eq!(third.writes, second.writes);
    assert!(steps <= 64, "{steps}");
}

/// Numbers that were given before are found without looking at all others for each.
#[test]
fn backends_that_all_are_replaced_find_numbers() {
    let now = Instant::now();
    let before = plan(&Model::default(), &largest(Index::Load, 0), now).unwrap();
    let none = plan(&before.model, &Target::default(), now).unwrap();
    let mut model = none.model;
    assert_eq!(model.release(|_| false).len(), MAX_BACKENDS as usize);
    let other = largest(Index::Load, MAX_BACKENDS);
    let later = now + GRACE;
    let (_, steps) = work::of(|| plan(&model, &other, later).unwrap());
    assert!(steps <= 3 * ALL, "{steps}");
}

#[test]
fn all_wheels_can_be_replaced_at_once() {
    let now = Instant::now();
    let mut target = largest(Index::Hash, 0);
    let first = plan(&Model::default(), &target, now).unwrap();
    for service in 0..MAX_SERVICES {
        put_down(&mut target, service);
    }
    let second = plan(&first.model, &target, now).unwrap();
    let wheels = second.writes.iter();
    let wheels = wheels.filter(|write| matches!(write, Write::Wheel(..)));
    assert_eq!(wheels.count(), MAX_SERVICES as usize);
    // And again, once no packet can be reading the first ones.
    let again = plan(&second.model, &largest(Index::Hash, 0), now + GRACE);
    assert!(again.is_ok());
}
