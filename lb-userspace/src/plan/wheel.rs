//! Who has which place of a service's wheel.

use std::net::SocketAddr;

use lb_common::{
    abi::{Kind, selector},
    hash,
};

use super::{TargetService, address};
use crate::scheduler::{Fill, Share};

/// The number of the backend that has each place of a service's wheel: one of those that
/// take new connections, and a backup only where no other does. Empty when none does.
/// `numbers` are the backends' in the service's order.
///
/// A wheel that flows find by their hash has `least_length` places or more: those that it
/// has already, or 0. Its length doesn't depend on which backends are active.
pub(super) fn owners(
    service: &TargetService,
    numbers: &[u16],
    least_length: u32,
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
        fill.length(&weights)
    };
    let mut active = shares(false, true);
    if active.is_empty() {
        active = shares(true, true);
    }
    let length = match service.index.is_steady() {
        false => length(&active),
        true => {
            let all = length(&shares(false, false)).max(length(&shares(true, false)));
            all.max(least_length)
        }
    };
    fill.owners(&active, length)
}

/// A number that belongs to a server on every node.
fn identity(server: SocketAddr) -> u64 {
    let (family, words) = address::words(server.ip());
    hash::endpoint(words, selector(family, server.port(), 0, Kind::Server))
}
