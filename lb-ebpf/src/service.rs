//! Whose packet this is.

use lb_common::{
    abi::{Kind, selector},
    verdict::Verdict,
};

use crate::{
    clock,
    maps::{BackendRef, EndpointRef},
    parse::Segment,
};

/// The service that a segment is for.
#[inline(always)]
#[must_use]
pub fn of(segment: &Segment) -> Option<EndpointRef> {
    let selector = selector(segment.destination_port, segment.protocol(), Kind::Service);
    EndpointRef::find(segment.destination, selector)
}

/// The service that a backend belongs to.
#[inline(always)]
#[must_use]
pub fn by(backend: BackendRef, protocol: u8) -> Option<EndpointRef> {
    let selector = selector(backend.vip_port(), protocol, Kind::Service);
    EndpointRef::find(backend.vip(), selector)
}

/// The server of a `nat` service that a segment comes from.
#[inline(always)]
#[must_use]
pub fn server(segment: &Segment) -> Option<EndpointRef> {
    let selector = selector(segment.source_port, segment.protocol(), Kind::Server);
    EndpointRef::find(segment.source, selector)
}

/// Whether the node answers for an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It is none of our VIPs.
    NotVip,
    /// It is a VIP, and our lease on it has run out.
    NotHeld,
    /// It is a VIP, and ours.
    Held,
}

/// Whether the node answers for `address` now.
#[inline(always)]
#[must_use]
pub fn holding(address: u32) -> Holding {
    match EndpointRef::find(address, selector(0, 0, Kind::Vip)) {
        None => Holding::NotVip,
        Some(vip) if clock::monotonic_ns() < vip.deadline() => Holding::Held,
        Some(_) => Holding::NotHeld,
    }
}

/// The verdict on a packet for `destination` that no service takes: `verdict` if that
/// is a VIP, otherwise the node's own stack sees to it.
#[inline(always)]
#[must_use]
pub fn stray(destination: u32, verdict: Verdict) -> Verdict {
    match EndpointRef::find(destination, selector(0, 0, Kind::Vip)) {
        None => Verdict::PassNotVip,
        Some(_) => verdict,
    }
}
