//! Whose turn it is: the place of a service's wheel that its scheduler takes. The only code
//! that tells one scheduler from another.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use lb_common::{
    hash,
    wheel::{Index, Slot},
};

use crate::{
    ip::Address,
    maps::{self, EndpointRef},
};

/// The place for what opens a flow. `None` when the wheel is empty.
#[inline(always)]
#[must_use]
pub fn next<A: Address>(
    service: EndpointRef,
    hash: u64,
    client: impl FnOnce() -> A,
) -> Option<Slot> {
    let wheel = service.wheel();
    if wheel.length == 0 {
        return None;
    }
    let place = match Index::from_byte(service.index()) {
        Index::Counter => maps::advance(service.number(), wheel.length),
        Index::Hash => hash::reduce(hash, wheel.length),
        Index::Source => hash::reduce(of_source(service, client()), wheel.length),
        Index::Random => random(wheel.length),
        Index::Load => {
            let (one, other) = (random(wheel.length), random(wheel.length));
            let (one, other) = (maps::wheel_slot(wheel, one), maps::wheel_slot(wheel, other));
            return Some(maps::less_loaded(one, other));
        }
    };
    Some(maps::wheel_slot(wheel, place))
}

/// The place that all packets of a flow find. `None` when the wheel is empty. The client's address is
/// read only if it is needed.
#[inline(always)]
#[must_use]
pub fn steady<A: Address>(
    service: EndpointRef,
    hash: u64,
    client: impl FnOnce() -> A,
) -> Option<Slot> {
    let wheel = service.wheel();
    if wheel.length == 0 {
        return None;
    }
    let hash = if service.index() == Index::Source as u8 {
        of_source(service, client())
    } else {
        hash
    };
    Some(maps::wheel_slot(wheel, hash::reduce(hash, wheel.length)))
}

/// The hash of the part of a client's address that the service knows it by.
#[inline(always)]
fn of_source<A: Address>(service: EndpointRef, client: A) -> u64 {
    let client = client.prefix(service.prefix());
    service.seed().hash(client.folded(), 0)
}

#[inline(always)]
fn random(length: u32) -> u32 {
    // SAFETY: the helper takes no arguments and has no preconditions.
    let random = unsafe { bpf_get_prandom_u32() };
    ((u64::from(random) * u64::from(length)) >> 32) as u32
}
