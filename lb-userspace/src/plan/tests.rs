use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use lb_common::{
    abi::{
        Address, Backend, BackendState, Endpoint, Family, Forward, Hop, Keeping, Kind, Range,
        Tunnel, WHEEL_CHUNK, family_of, selector,
    },
    limits,
    tags::Tags,
    wheel::Index,
};
use proptest::prelude::*;

use super::*;
use crate::config::model::Protocol;

/// The maps in memory, as the data plane would see them.
struct Twin {
    endpoints: BTreeMap<(Address, u32), Endpoint>,
    backends: BTreeMap<u16, Backend>,
    tunnels: BTreeMap<u16, Tunnel>,
    wheels: Vec<u16>,
}

impl Twin {
    fn new() -> Self {
        Twin {
            endpoints: BTreeMap::new(),
            backends: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            wheels: vec![0; limits::WHEEL_ENTRIES as usize],
        }
    }

    /// Makes a write, and calls `look` at everything that a packet may see meanwhile.
    fn write(&mut self, write: &Write, look: &impl Fn(&Twin)) {
        match write {
            Write::Backend(number, record) => {
                self.backends.insert(*number, *record);
            }
            Write::Tunnel(number, tunnel) => {
                self.tunnels.insert(*number, *tunnel);
            }
            Write::Wheel(chunk, entries) => {
                let start = (chunk * WHEEL_CHUNK) as usize;
                self.wheels[start..start + entries.len()].copy_from_slice(entries);
            }
            Write::Endpoint(endpoint) => self.endpoint(endpoint, look),
            Write::RemoveEndpoint(address, selector) => {
                self.endpoints
                    .remove(&(*address, *selector))
                    .expect("only what is there goes");
            }
            Write::ResetCounters(_)
            | Write::ResetCursor(..)
            | Write::Routes(_)
            | Write::Routes6(_)
            | Write::Neighbour(..) => {}
        }
        look(self);
    }

    /// A new endpoint comes whole, another record for the same one word by word.
    fn endpoint(&mut self, new: &Endpoint, look: &impl Fn(&Twin)) {
        let key = (new.address, new.selector);
        if let Some(mut seen) = self.endpoints.get(&key).copied() {
            seen = Endpoint {
                detail: seen.detail,
                ..*new
            };
            self.endpoints.insert(key, seen);
            look(self);
            for word in 0..new.detail.len() {
                seen.detail[word] = new.detail[word];
                self.endpoints.insert(key, seen);
                look(self);
            }
        }
        self.endpoints.insert(key, *new);
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Endpoint> {
        let is = move |e: &&Endpoint| e.selector >> 24 & 0x7f == kind as u32;
        self.endpoints.values().filter(is)
    }

    fn wheel(&self, service: &Endpoint) -> &[u16] {
        let wheel = service.wheel();
        let start = (wheel.chunk * WHEEL_CHUNK) as usize;
        &self.wheels[start..start + wheel.length as usize]
    }

    /// What must hold for a packet that comes between any two writes.
    fn check(&self) {
        for service in self.of_kind(Kind::Service) {
            for number in self.wheel(service) {
                self.check_backend(service, *number);
            }
        }
        for server in self.of_kind(Kind::Server) {
            let record = &self.backends[&(server.number() as u16)];
            let family = family_of(server.selector);
            let its = selector(family, record.port, record.protocol, Kind::Server);
            assert_eq!((record.address, its), (server.address, server.selector));
            assert_eq!(record.forward, Forward::Nat as u8);
        }
        for vip in self.of_kind(Kind::Vip) {
            for (range, protocol) in ranges(vip) {
                let family = family_of(vip.selector);
                let key = selector(family, range.first.to_be(), protocol, Kind::Service);
                let there = self.endpoints.contains_key(&(vip.address, key));
                assert!(there, "a range {range:?} without a service");
            }
        }
    }

    fn check_backend(&self, service: &Endpoint, number: u16) {
        let record = &self.backends[&number];
        let family = family_of(service.selector);
        let its = selector(family, record.vip_port, record.protocol, Kind::Service);
        assert_eq!((record.vip, its), (service.address, service.selector));
        assert_eq!(record.state, BackendState::Active as u8, "backend {number}");
        assert_ne!(record.mtu, 0, "backend {number} has no way");
        let is_full_nat = record.forward == Forward::FullNat as u8;
        let has_ports = service.keeping == Keeping::Ports as u8;
        assert_eq!(is_full_nat, has_ports, "backend {number}");
        if Forward::from_byte(record.forward)
            .expect("a mode")
            .overhead()
            > 0
        {
            assert_ne!(self.tunnels[&number].source, [0; 4], "backend {number}");
        }
    }

    /// The service that a packet finds, as the data plane looks for it: its port.
    fn find(&self, vip: IpAddr, port: u16, protocol: u8) -> Option<u16> {
        let (family, address) = words(vip);
        let has = |port: u16| {
            let key = selector(family, port.to_be(), protocol, Kind::Service);
            self.endpoints.contains_key(&(address, key))
        };
        if has(port) {
            return Some(port);
        }
        let vip = self
            .endpoints
            .get(&(address, selector(family, 0, 0, Kind::Vip)))?;
        let (range, _) = ranges(vip)
            .into_iter()
            .find(|(range, of)| *of == protocol && (range.first..=range.last).contains(&port))?;
        has(range.first).then_some(range.first)
    }
}

/// A VIP's ranges with their protocols, in their order.
fn ranges(vip: &Endpoint) -> Vec<(Range, u8)> {
    let places = 0..limits::MAX_VIP_RANGES as usize;
    let of = |place: usize| {
        let bits = (vip.detail[1 + place / 2] >> (place % 2 * 32)) as u32;
        let protocols = [(vip.tcp_ranges, 6), (vip.udp_ranges, 17)];
        protocols
            .into_iter()
            .filter(move |(mask, _)| mask >> place & 1 == 1)
            .map(move |(_, protocol)| (Range::from_bits(bits), protocol))
    };
    places.flat_map(of).collect()
}

fn hop(n: u8) -> Hop {
    Hop {
        egress: 0,
        mtu: 1_500,
        tags: Tags::NONE.within(u16::from(n), false),
        destination: [2, 0, 0, 0, 0, n],
        source: [2, 0, 0, 0, 1, 0],
        reserved: [0; 4],
    }
}

fn tunnel(n: u8) -> Tunnel {
    Tunnel {
        source: [u32::from(n) + 1, 0, 0, 0],
        ..Tunnel::NONE
    }
}

fn vip(n: u8) -> IpAddr {
    match n % 4 {
        0 => "203.0.113.10".parse().unwrap(),
        1 => "203.0.113.11".parse().unwrap(),
        2 => "2001:db8::10".parse().unwrap(),
        // Its words look like an IPv4 address's.
        _ => "2001:db8::".parse().unwrap(),
    }
}

const PORTS: [u16; 8] = [79, 80, 84, 89, 90, 99, 100, 40_000];

/// Ports that don't overlap for one VIP and protocol, but for all of them.
fn ports(n: u8) -> (u16, Option<Range>) {
    let range = |first, last| (first, Some(Range { first, last }));
    match n {
        0 => (80, None),
        1 => range(84, 89),
        // The same service with other ports.
        2 => range(84, 90),
        3 => range(91, 99),
        _ => range(0, u16::MAX),
    }
}

fn server(n: u8, is_v6: bool, port: u16) -> SocketAddr {
    let ip: IpAddr = match is_v6 {
        false => Ipv4Addr::new(10, 0, 0, n).into(),
        true => format!("fd00::{n}").parse().unwrap(),
    };
    SocketAddr::new(ip, port)
}

fn backend(forward: Forward) -> impl Strategy<Value = TargetBackend> {
    let state = prop::sample::select(vec![
        BackendState::Active,
        BackendState::Active,
        BackendState::Draining,
        BackendState::Down,
    ]);
    let way = prop_oneof![
        8 => (0u8..3, 0u8..2).prop_map(|(n, t)| Way::Known(hop(n), tunnel(t))),
        1 => Just(Way::Unknown),
        1 => Just(Way::Barred),
    ];
    (1u16..5, state, way).prop_map(move |(weight, state, way)| TargetBackend {
        forward,
        weight,
        state,
        way,
    })
}

/// A service of the VIP's family, in any mode.
fn service(is_v6: bool, range: Option<Range>) -> impl Strategy<Value = TargetService> {
    let forward = prop::sample::select(vec![
        Forward::Dsr,
        Forward::Nat,
        Forward::FullNat,
        Forward::Ip4,
        Forward::Gue6,
    ]);
    let backends = forward.prop_flat_map(|forward| {
        let backends = prop::collection::btree_map(1u8..7, backend(forward), 0..6);
        (Just(forward), backends)
    });
    backends.prop_map(move |(forward, backends)| TargetService {
        index: Index::Counter,
        range,
        keeping: match forward {
            Forward::FullNat => Keeping::Ports,
            _ => Keeping::Flows,
        },
        backends: backends
            .into_iter()
            .map(|(n, backend)| {
                let is_v6 = match forward {
                    Forward::Ip4 => false,
                    Forward::Gue6 => true,
                    _ => is_v6,
                };
                let port = if range.is_some() { 0 } else { 80 };
                (server(n, is_v6, port), backend)
            })
            .collect(),
    })
}

fn target() -> impl Strategy<Value = Target> {
    let one = (0u8..4, 0u8..5, any::<bool>()).prop_flat_map(|(n, which, is_tcp)| {
        let (port, range) = ports(which);
        let key = ServiceKey {
            vip: vip(n),
            port,
            protocol: if is_tcp { Protocol::Tcp } else { Protocol::Udp },
        };
        (Just(key), service(key.vip.is_ipv6(), range))
    });
    prop::collection::vec(one, 0..8).prop_map(|services| Target {
        services: services.into_iter().collect(),
        pool: vec![
            "192.0.2.1".parse().unwrap(),
            "2001:db8:f::1".parse().unwrap(),
        ],
        ..Target::default()
    })
}

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

/// The record of a wanted backend.
fn record(twin: &Twin, model: &Model, key: ServiceKey, at: (SocketAddr, Forward)) -> Backend {
    let id = Id {
        service: key,
        server: at.0,
        forward: at.1,
    };
    twin.backends[&model.backends[&id]]
}

fn check_done(twin: &Twin, model: &Model, target: &Target) {
    assert_eq!(twin.of_kind(Kind::Service).count(), target.services.len());
    for (key, service) in &target.services {
        for (server, wanted) in &service.backends {
            let record = record(twin, model, *key, (*server, wanted.forward));
            match wanted.way {
                Way::Known(hop, _) => {
                    assert_eq!(record.state, wanted.state as u8);
                    assert_eq!((record.tags, record.mtu), (hop.tags, hop.mtu));
                }
                Way::Barred => assert_eq!(record.state, BackendState::Down as u8),
                Way::Unknown => {}
            }
            assert_eq!(record.forward, wanted.forward as u8);
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
        assert_eq!(twin.wheel(endpoint), &placed.entries[..]);
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
            prop_assert_eq!(super::plan(&model, target, now).unwrap().writes, vec![]);
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
            let (port, protocol) = (service.selector as u16, (service.selector >> 16) as u8);
            let family = family_of(service.selector);
            let key = ServiceKey::from_words(family, service.address, port, protocol).unwrap();
            found.services.insert(key, Placed::found(service, twin.wheel(service).to_vec()));
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
        assert_eq!(plan.model.services[&key(0)].entries, [1]);
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
    assert_eq!(second.model.services[&key(0)].entries, [2]);
    assert_eq!(second.model.retired().collect::<Vec<_>>(), [1]);
    assert_eq!(second.model.servers.len(), 1);
    let third = plan(&second.model, &of(Forward::Dsr), now).unwrap();
    assert_eq!(third.model.services[&key(0)].entries, [1]);
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

#[test]
fn as_many_backends_as_there_can_be_are_planned_quickly() {
    let backends = (0..limits::MAX_BACKENDS)
        .map(|n| {
            let server = SocketAddr::new(Ipv4Addr::from(0x0a00_0000 + n).into(), 80);
            (server, active(Forward::Nat, 1))
        })
        .collect();
    let plan = plan(&Model::default(), &service_of(backends), Instant::now()).unwrap();
    assert_eq!(plan.model.services[&key(0)].entries.len(), 65_535);
}
