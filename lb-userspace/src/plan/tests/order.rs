//! What comes before what, who is who, and who keeps a number.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use lb_common::{
    abi::{BackendState, Family, Forward, Keeping, Kind, NO_GROUP, Range, selector},
    limits,
    wheel::{Index, Slot},
};

use super::{hop, server, tunnel, vip};
use crate::{
    config::model::Protocol,
    plan::{
        Model, Plan, ServiceKey, Target, TargetBackend, TargetService, Way, Write, plan, words,
    },
};

fn key(n: u8) -> ServiceKey {
    ServiceKey {
        vip: vip(n),
        port: 80,
        protocol: Protocol::Tcp,
    }
}

fn service_of(backends: Vec<(SocketAddr, TargetBackend)>) -> Target {
    let service = TargetService {
        index: Index::Counter,
        prefix: 0,
        range: None,
        keeping: Keeping::Flows,
        backends,
    };
    Target {
        services: BTreeMap::from([(key(0), service)]),
        ..Target::default()
    }
}

fn active(forward: Forward, n: u8) -> TargetBackend {
    TargetBackend {
        forward,
        weight: 1,
        backup: false,
        state: BackendState::Active,
        way: Way::Known(hop(n), tunnel(n)),
    }
}

fn one(state: BackendState) -> Target {
    let second = TargetBackend {
        state,
        ..active(Forward::Dsr, 2)
    };
    service_of(vec![
        (server(1, false, 80), active(Forward::Dsr, 1)),
        (server(2, false, 80), second),
    ])
}

fn position(plan: &Plan, is: impl Fn(&Write) -> bool) -> usize {
    let found = plan.writes.iter().position(is);
    found.unwrap_or_else(|| panic!("{:?}", plan.writes))
}

#[test]
fn a_failed_backend_leaves_the_wheel_before_its_flows_move() {
    let now = Instant::now();
    let first = plan(&Model::default(), &one(BackendState::Active), now).unwrap();
    let second = plan(&first.model, &one(BackendState::Down), now).unwrap();
    let flip = position(&second, |w| matches!(w, Write::Endpoint(_)));
    let down = position(&second, |w| matches!(w, Write::Backend(2, _)));
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
    for way in [Way::Unknown, Way::Barred] {
        let mut target = one(BackendState::Active);
        let service = target.services.values_mut().next().unwrap();
        service.backends[1].1.way = way;
        let plan = plan(&Model::default(), &target, Instant::now()).unwrap();
        assert_eq!(plan.model.records[&2].state, BackendState::Down as u8);
        assert_eq!(
            plan.model.services[&key(0)].places.slots(),
            [Slot::stable(1)]
        );
    }
}

#[test]
fn a_way_that_is_lost_goes_on_and_one_that_is_barred_ends() {
    let now = Instant::now();
    let first = plan(&Model::default(), &one(BackendState::Active), now).unwrap();
    for (way, want) in [
        (Way::Unknown, BackendState::Active),
        (Way::Barred, BackendState::Down),
    ] {
        let mut target = one(BackendState::Active);
        let service = target.services.values_mut().next().unwrap();
        service.backends[1].1.way = way;
        let plan = plan(&first.model, &target, now).unwrap();
        assert_eq!(plan.model.records[&2].state, want as u8, "{way:?}");
    }
}

#[test]
fn a_tunnel_is_there_before_its_backend() {
    let target = service_of(vec![(server(1, false, 80), active(Forward::Gue4, 1))]);
    let plan = plan(&Model::default(), &target, Instant::now()).unwrap();
    let tunnel = position(&plan, |w| matches!(w, Write::Tunnel(1, _)));
    let backend = position(&plan, |w| matches!(w, Write::Backend(1, _)));
    assert!(tunnel < backend, "{:?}", plan.writes);
}

#[test]
fn another_mode_is_another_backend() {
    let now = Instant::now();
    let of = |forward| service_of(vec![(server(1, false, 80), active(forward, 1))]);
    let first = plan(&Model::default(), &of(Forward::Dsr), now).unwrap();
    let second = plan(&first.model, &of(Forward::Nat), now).unwrap();
    assert_eq!(
        second.model.services[&key(0)].places.slots(),
        [Slot::stable(2)]
    );
    assert_eq!(second.model.retired().collect::<Vec<_>>(), [1]);
    assert_eq!(second.model.servers.len(), 1);
    let third = plan(&second.model, &of(Forward::Dsr), now).unwrap();
    assert_eq!(
        third.model.services[&key(0)].places.slots(),
        [Slot::stable(1)]
    );
    assert_eq!(third.model.servers.len(), 0);
}

/// A server of services on all ports and on one is asked for by each port.
#[test]
fn servers_that_keep_ports_have_chains_of_their_own() {
    let mut target = Target::default();
    for (port, of_server) in [(80, 80), (81, 80), (0, 0)] {
        let range = (port == 0).then_some(Range {
            first: 0,
            last: u16::MAX,
        });
        let service = TargetService {
            index: Index::Counter,
            prefix: 0,
            range,
            keeping: Keeping::Flows,
            backends: vec![(server(1, false, of_server), active(Forward::Nat, 1))],
        };
        target
            .services
            .insert(ServiceKey { port, ..key(0) }, service);
    }
    let model = plan(&Model::default(), &target, Instant::now())
        .unwrap()
        .model;
    let address = words(server(1, false, 0).ip()).1;
    let chain = |port: u16| {
        let selector = selector(Family::V4, port.to_be(), 6, Kind::Server);
        let mut next = model.servers[&(address, selector)];
        let mut ports = Vec::new();
        while next != 0 {
            ports.push(u16::from_be(model.records[&next].vip_port));
            next = model.records[&next].sharing;
        }
        ports
    };
    assert_eq!((chain(80), chain(0)), (vec![80, 81], vec![0]));
}

/// A VIP goes over to another group by one word of its record, a gateway comes and goes
/// with its group, and whoever is in none is held always.
#[test]
fn vips_move_between_groups() {
    let now = Instant::now();
    let (own, gateway) = (vip(0), vip(9));
    let groups = |groups: &[(IpAddr, u32)]| Target {
        groups: groups.iter().copied().collect(),
        ..one(BackendState::Active)
    };
    let records = |plan: &Plan| -> Vec<(IpAddr, u32)> {
        let vips = plan.model.vips.iter();
        vips.map(|(vip, record)| (*vip, record.group())).collect()
    };
    let alone = plan(&Model::default(), &groups(&[]), now).unwrap();
    assert_eq!(records(&alone), [(own, NO_GROUP)]);
    let both = groups(&[(own, 2), (gateway, 2)]);
    let grouped = plan(&alone.model, &both, now).unwrap();
    assert_eq!(records(&grouped), [(own, 2), (gateway, 2)]);
    let moved = alone.model.vips[&own].in_group(2);
    assert_eq!(grouped.writes[0], Write::Endpoint(moved));
    assert_eq!(grouped.writes.len(), 2, "{:?}", grouped.writes);
    assert!(plan(&grouped.model, &both, now).unwrap().writes.is_empty());
    let again = plan(&grouped.model, &groups(&[(own, 3)]), now).unwrap();
    assert_eq!(records(&again), [(own, 3)]);
}

#[test]
fn as_many_backends_as_there_can_be_are_planned_quickly() {
    let backends = (0..limits::MAX_BACKENDS)
        .map(|n| {
            let server = SocketAddr::new(Ipv4Addr::from(0x0a00_0000 + n).into(), 80);
            (server, active(Forward::Nat, 1))
        })
        .collect();
    let plan = plan(&Model::default(), &service_of(backends), Instant::now()).unwrap();
    assert_eq!(plan.model.services[&key(0)].places.slots().len(), 65_535);
}
