//! Who has which place of a service's wheel.

use std::net::SocketAddr;

use lb_common::{
    abi::{Kind, selector},
    hash,
};

use super::{TargetService, address, ration, work};
use crate::scheduler::{Fill, Share};

/// The number of the backend that has each place of a service's wheel: one of those that
/// take new connections, and a backup only where no other does. Empty when none does.
/// `numbers` are the backends' in the service's order.
///
/// A wheel that flows find by their hash has `least_length` places or more: those that it
/// has already, or 0. Its length doesn't depend on which backends are active. `halvings`
/// tells how often lengths are halved, see [`Fill::length`].
pub(super) fn owners(
    service: &TargetService,
    numbers: &[u16],
    least_length: u32,
    halvings: u8,
    is_active: impl Fn(u16) -> bool,
) -> Vec<u16> {
    let shares = |of_backups: bool, only_active: bool| -> Vec<Share> {
        let backends = numbers.iter().zip(&service.backends);
        backends
            .filter(|(_, (_, backend))| backend.backup == of_backups)
            .filter(|(number, _)| !only_active || is_active(**number))
            .map(|(&number, (server, backend))| Share {
                number,
                weight: backend.weight,
                identity: identity(*server),
            })
            .collect()
    };
    let fill = Fill::of(service.index);
    let length = |shares: &[Share]| {
        let weights: Vec<u16> = shares.iter().map(|share| share.weight).collect();
        fill.length(&weights, halvings)
    };
    let mut active = shares(false, true);
    if active.is_empty() {
        active = shares(true, true);
    }
    let length = match service.index.is_steady() {
        false => length(&active),
        true => ration::longest(service, least_length, halvings),
    };
    work::count(u64::from(length));
    fill.owners(&active, length)
}

/// A number that belongs to a server on every node.
fn identity(server: SocketAddr) -> u64 {
    let (family, words) = address::words(server.ip());
    let hash = hash::endpoint(words, selector(family, server.port(), 0, Kind::Server));
    hash::spread(hash)
}

#[cfg(test)]
mod tests {
    use lb_common::{
        abi::{BackendState, Forward, Keeping},
        wheel::Index,
    };

    use super::*;
    use crate::plan::{TargetBackend, Way};

    /// A service of backends with these weights; what is below 0 is a backup's.
    fn service(index: Index, weights: &[i16]) -> (TargetService, Vec<u16>) {
        let backend = |(n, &weight): (usize, &i16)| {
            let backend = TargetBackend {
                forward: Forward::Dsr,
                weight: weight.unsigned_abs(),
                backup: weight < 0,
                state: BackendState::Active,
                way: Way::Unknown,
            };
            (SocketAddr::from(([10, 0, 0, n as u8 + 1], 80)), backend)
        };
        let service = TargetService {
            index,
            prefix: 0,
            range: None,
            keeping: Keeping::Flows,
            backends: weights.iter().enumerate().map(backend).collect(),
        };
        let numbers = (1..).take(weights.len()).collect();
        (service, numbers)
    }

    fn owners_of(index: Index, weights: &[i16], down: &[u16]) -> Vec<u16> {
        let (service, numbers) = service(index, weights);
        owners(&service, &numbers, 0, 0, |number| !down.contains(&number))
    }

    #[test]
    fn backups_wait_until_no_other_is_left() {
        let all = [2, -1, 1, -1];
        assert_eq!(owners_of(Index::Counter, &all, &[]), [1, 3, 1]);
        assert_eq!(owners_of(Index::Counter, &all, &[1]), [3]);
        assert_eq!(owners_of(Index::Counter, &all, &[1, 3]), [2, 4]);
        assert_eq!(owners_of(Index::Load, &all, &[1, 3, 4]), [2]);
        assert!(owners_of(Index::Random, &all, &[1, 2, 3, 4]).is_empty());
        assert!(owners_of(Index::Hash, &all, &[1, 2, 3, 4]).is_empty());
    }

    #[test]
    fn a_wheel_found_by_hash_keeps_its_length() {
        let eleven = [1; 11];
        let whole = owners_of(Index::Hash, &eleven, &[]);
        assert_eq!(whole.len(), 2_042);
        let down: Vec<u16> = (2..=11).collect();
        assert_eq!(owners_of(Index::Source, &eleven, &down), [1; 2_042]);
        let (three, numbers) = service(Index::Hash, &[1, 1, -1]);
        assert_eq!(owners(&three, &numbers, 0, 0, |_| true).len(), 1_021);
        assert_eq!(owners(&three, &numbers, 2_042, 0, |_| true).len(), 2_042);
        assert_eq!(owners(&three, &numbers, 2_042, 0, |n| n == 3), [3; 2_042]);
    }

    #[test]
    fn a_server_is_known_by_its_address_and_port() {
        let all = [
            "10.0.0.1:80",
            "10.0.0.1:81",
            "10.0.0.2:80",
            "[2001:db8::1]:80",
        ];
        let all = all.map(|server| identity(server.parse().expect("an address")));
        for (n, one) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(one));
        }
    }
}
