//! Plans carried out in real maps, which needs root; no program is loaded.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use lb_common::{
    abi::{
        BackendState, Forward, Hop, Identity, Keeping, Load, Pool, Range, Route, Route6, Tunnel,
    },
    tags::Tags,
    wheel::Index,
};

use super::{
    Constants, Counters, Object, Tables,
    object::{OBJECT, new_identity},
};
use crate::{
    config::model::{Protocol, Timeouts},
    plan::{self, Model, ServiceKey, Target, TargetBackend, TargetService, Way},
};

struct Maps {
    tables: Tables,
    counters: Counters,
    /// It holds the maps.
    _object: Object,
}

fn maps() -> Maps {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes BPF maps: run it as root"
    );
    let pool = Pool {
        first_port: 2_000,
        buckets: 4,
        v4: 1,
        v6: 1,
    };
    let made = new_identity(2_000, &Timeouts::default()).expect("random numbers");
    let identity = Identity { pool, ..made };
    let constants = Constants::new(identity);
    let mut object = Object::load(OBJECT, &constants, None).expect("maps");
    let tables = Tables::open(&mut object).expect("tables");
    tables.identity.store(0, &identity);
    Maps {
        tables,
        counters: Counters::open(&object).expect("counters"),
        _object: object,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn hop(n: u8) -> Hop {
    Hop {
        egress: 3,
        mtu: 1_500,
        tags: Tags::NONE.within(7, false),
        destination: [2, 0, 0, 0, 0, n],
        source: [2, 0, 0, 0, 1, 0],
        reserved: [0; 4],
    }
}

fn service(
    target: &mut Target,
    (vip, ports, protocol): (&str, Range, Protocol),
    forward: Forward,
    servers: &[&str],
) {
    let backend = TargetBackend {
        forward,
        weight: 1,
        backup: false,
        state: BackendState::Active,
        way: Way::Known(
            hop(1),
            Tunnel {
                source: [5, 6, 7, 8],
                ..Tunnel::NONE
            },
        ),
    };
    let is_range = ports.first != ports.last;
    let port = if is_range { 0 } else { ports.first };
    let key = ServiceKey {
        vip: ip(vip),
        port: ports.first,
        protocol,
    };
    let service = TargetService {
        index: Index::Counter,
        prefix: 0,
        range: is_range.then_some(ports),
        keeping: match forward {
            Forward::FullNat => Keeping::Ports,
            _ => Keeping::Flows,
        },
        backends: servers
            .iter()
            .map(|server| (SocketAddr::new(ip(server), port), backend.clone()))
            .collect(),
    };
    target.services.insert(key, service);
}

/// Everything that maps can hold, of both families.
fn target() -> Target {
    use Protocol::{Tcp, Udp};
    let ports = |first, last| Range { first, last };
    let (web, media, all) = (ports(80, 80), ports(5_000, 5_999), ports(0, u16::MAX));
    let mut target = Target {
        pool: vec![ip("192.0.2.200"), ip("2001:db8::200")],
        ..Target::default()
    };
    let four = ["10.0.0.1", "10.0.0.2"];
    // A VIP whose words look like an IPv4 address's.
    let (vip, vip6, odd) = ("203.0.113.10", "2001:db8::10", "2001:db8::");
    service(&mut target, (vip, web, Tcp), Forward::Nat, &four);
    service(&mut target, (vip, media, Udp), Forward::Dsr, &four);
    service(
        &mut target,
        (vip6, web, Tcp),
        Forward::FullNat,
        &["fd00::1"],
    );
    service(&mut target, (vip6, media, Tcp), Forward::Nat, &["fd00::1"]);
    service(&mut target, (odd, all, Udp), Forward::Gue4, &four);
    service(
        &mut target,
        (odd, web, Tcp),
        Forward::Dsr,
        &["fd00::", "fd00::2"],
    );
    for service in target.services.values_mut() {
        match service.backends[0].1.forward {
            Forward::Dsr => (service.index, service.keeping) = (Index::Hash, Keeping::Changes),
            Forward::Nat => service.index = Index::Load,
            _ => {}
        }
    }
    target.routes = vec![Route {
        prefix: 0,
        mask: 0,
        kind: Route::VIA,
        reserved: 0,
        hop: hop(9),
    }];
    target.routes6 = vec![Route6 {
        prefix: [0; 4],
        mask: [0; 4],
        kind: Route::VIA,
        reserved: 0,
        hop: hop(10),
    }];
    target.neighbours.insert(ip("10.0.0.7"), hop(7));
    target.neighbours.insert(ip("fd00::7"), hop(8));
    target
}

fn carry_out(maps: &mut Maps, model: &Model, target: &Target) -> Model {
    let plan = plan::plan(model, target, Instant::now()).expect("room");
    maps.tables
        .apply(&plan.writes, &maps.counters)
        .expect("the maps take it");
    plan.model
}

#[test]
fn a_daemon_that_comes_after_has_nothing_to_do() {
    let mut maps = maps();
    let found = maps.tables.recover();
    let _ = carry_out(&mut maps, &found, &target());
    let found = maps.tables.recover();
    let plan = plan::plan(&found, &target(), Instant::now()).expect("room");
    assert_eq!(plan.writes, []);
    assert_eq!((found.tunnels.len(), found.weights.len()), (2, 3));
    maps.tables.put_loads(&found.weights, &[7; 65_536]);
    for number in 1..=found.records.len() as u16 {
        let weight = found.weights.get(&number).copied().map_or(0, u32::from);
        let flows = 7 * weight;
        assert_eq!(
            maps.tables.loads.load(number.into()),
            Load { flows, weight }
        );
    }
}

#[test]
fn what_was_put_in_is_taken_out() {
    let mut maps = maps();
    let model = maps.tables.recover();
    let model = carry_out(&mut maps, &model, &target());
    let mut model = carry_out(&mut maps, &model, &Target::default());
    for number in model.release(|_| false) {
        maps.tables.forget_backend(number);
    }
    assert_eq!(maps.tables.endpoints.iter().count(), 0);
    assert_eq!(maps.tables.neighbours(), []);
    let found = maps.tables.recover();
    assert_eq!((found.records.len(), found.routes6.len()), (0, 0));
}

#[test]
fn the_pool_is_told_by_its_places() {
    let mut maps = maps();
    let addresses = [ip("192.0.2.200"), ip("2001:db8::200")];
    maps.tables.put_pool(&addresses);
    assert_eq!(maps.tables.pool(), addresses);
    assert!(maps.tables.check_pool(&addresses).is_ok());
    let other = [ip("192.0.2.201"), ip("2001:db8::200")];
    let error = maps.tables.check_pool(&other).expect_err("another pool");
    assert!(
        error
            .to_string()
            .contains("in use is 192.0.2.200, 2001:db8::200"),
        "{error}"
    );
}
