//! Random targets: few addresses and ports, so that they meet.

use lb_common::{
    abi::{BackendState, Forward, Keeping, Range},
    wheel::Index,
};
use proptest::prelude::*;

use super::{hop, server, tunnel, vip};
use crate::{
    config::model::Protocol,
    plan::{ServiceKey, Target, TargetBackend, TargetService, Way},
};

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
        backup: false,
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
    let index = prop::sample::select(vec![
        (Index::Counter, 0),
        (Index::Hash, 0),
        (Index::Source, 24),
        (Index::Source, 16),
        (Index::Load, 0),
    ]);
    (backends, index).prop_map(
        move |((forward, backends), (index, prefix))| TargetService {
            index,
            prefix,
            range,
            keeping: match forward {
                Forward::FullNat => Keeping::Ports,
                Forward::Nat => Keeping::Flows,
                _ if index.is_steady() => Keeping::Changes,
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
        },
    )
}

pub fn target() -> impl Strategy<Value = Target> {
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
