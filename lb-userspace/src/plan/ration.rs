//! How long wheels may be, so that there is always room for others in their place.
//!
//! A wheel is replaced by one that is written beside it. So together they are to take half
//! of what there is at most, and then every one can be replaced at once. Where the lengths
//! that give exact shares come to more, all are halved, as often as it takes.

use std::collections::BTreeMap;

use super::{Placed, ServiceKey, Target, TargetService, chunks};
use crate::scheduler::Fill;

/// How often lengths are halved at most.
const MOST: u8 = 16;

/// How often lengths are to be halved for what `target` wants: the least that lets all
/// wheels lie in half of `total` chunks, else the most.
pub(super) fn halvings(target: &Target, placed: &BTreeMap<ServiceKey, Placed>, total: u32) -> u8 {
    let needs = |halvings: u8| -> u64 {
        let services = target.services.iter();
        let each = services.map(|(key, service)| {
            let least = placed.get(key).map_or(0, |placed| least(service, placed));
            u64::from(chunks::chunks(longest(service, least, halvings)))
        });
        each.sum()
    };
    let fits = |halvings: &u8| needs(*halvings) <= u64::from(total / 2);
    (0..MOST).find(fits).unwrap_or(MOST)
}

/// The places that a service's wheel has whatever becomes of it: of one that flows find by
/// their hash it gets no shorter, as long as they are found the same way.
pub(super) fn least(service: &TargetService, placed: &Placed) -> u32 {
    let is_same = (placed.index, placed.keeping, placed.prefix)
        == (service.index, service.keeping, service.prefix);
    match is_same && placed.in_table && service.index.is_steady() {
        true => placed.places.slots().len() as u32,
        false => 0,
    }
}

/// The length of a service's wheel with whichever of its backends active it is longest.
pub(super) fn longest(service: &TargetService, least: u32, halvings: u8) -> u32 {
    let fill = Fill::of(service.index);
    let length = |of_backups: bool| {
        let backends = service.backends.iter().map(|(_, backend)| backend);
        let weights: Vec<u16> = backends
            .filter(|backend| backend.backup == of_backups)
            .map(|backend| backend.weight)
            .collect();
        fill.length(&weights, halvings)
    };
    length(false).max(length(true)).max(least)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use lb_common::{
        abi::{BackendState, Forward, Keeping, WHEEL_CHUNK},
        limits::{MAX_SERVICES, WHEEL_ENTRIES},
        wheel::Index,
    };

    use super::*;
    use crate::{
        config::model::Protocol,
        plan::{TargetBackend, Way},
    };

    const TOTAL: u32 = WHEEL_ENTRIES / WHEEL_CHUNK;

    /// As many services of this index, with such weights each.
    fn target(services: u32, index: Index, weights: &[u16]) -> Target {
        let mut target = Target::default();
        let backends = weights.iter().zip(1u32..).map(|(&weight, n)| {
            let backend = TargetBackend {
                forward: Forward::Dsr,
                weight,
                backup: false,
                state: BackendState::Active,
                way: Way::Unknown,
            };
            (SocketAddr::new(IpAddr::V4(n.into()), 80), backend)
        });
        let service = TargetService {
            index,
            prefix: 0,
            range: None,
            keeping: Keeping::Changes,
            backends: backends.collect(),
        };
        for n in 0..services {
            let key = ServiceKey {
                vip: IpAddr::V4(n.into()),
                port: 80,
                protocol: Protocol::Tcp,
            };
            target.services.insert(key, service.clone());
        }
        target
    }

    fn of(target: &Target) -> (u8, u32) {
        let halvings = halvings(target, &BTreeMap::new(), TOTAL);
        let length = |service| longest(service, 0, halvings);
        (
            halvings,
            target.services.values().map(length).max().unwrap(),
        )
    }

    #[test]
    fn wheels_are_as_long_as_shares_ask_while_there_is_room() {
        assert_eq!(of(&target(1_000, Index::Hash, &[1; 16])), (0, 2_042));
        assert_eq!(of(&target(64, Index::Hash, &[1; 500])), (0, 65_344));
        assert_eq!(of(&target(MAX_SERVICES, Index::Counter, &[1; 16])), (0, 16));
    }

    #[test]
    fn all_services_with_all_backends_leave_room_for_as_many_wheels_again() {
        let uneven: Vec<u16> = (0..16).map(|n| 1 + n * 17).collect();
        for (index, weights) in [
            (Index::Hash, &[1; 16][..]),
            (Index::Hash, &uneven),
            (Index::Counter, &uneven),
        ] {
            let target = target(MAX_SERVICES, index, weights);
            let (halvings, length) = of(&target);
            assert!(halvings > 0 && length >= 16, "{index:?}: {length}");
            assert!(chunks::chunks(length) * MAX_SERVICES <= TOTAL / 2);
        }
    }
}
