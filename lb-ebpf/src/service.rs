//! Whose packet this is.

use lb_common::{
    abi::{Kind, carried},
    verdict::Verdict,
};

use crate::{
    clock,
    ip::Ip,
    maps::{self, BackendRef, EndpointRef, Sought},
    parse::{Reading, TCP, Target},
};

/// The service that a segment is for, and where it has no port of its own, or nobody has
/// it, the VIP.
#[inline(always)]
#[must_use]
pub fn of<I: Ip>(segment: &impl Reading<I>) -> (Option<EndpointRef>, Option<EndpointRef>) {
    let sought = |target: &Target<I>, carried| {
        let (vip, port) = (target.destination, target.destination_port);
        Sought::<I>::new(vip, port, carried, Kind::Service)
    };
    let target = segment.target();
    if let Some(exact) = sought(&target, segment.carried()).first() {
        return (Some(exact), None);
    }
    // What is for nobody of ours is found out before the other places are looked at.
    if !maps::is_known(target.destination) {
        return (None, None);
    }
    let (protocol, target) = (segment.protocol(), segment.target());
    let (vip, port) = (target.destination, target.destination_port);
    if let Some(exact) = sought(&target, carried(protocol)).second() {
        return (Some(exact), None);
    }
    let Some(record) = known_vip::<I>(vip) else {
        return (None, None);
    };
    let around = around::<I>(record, vip, port, protocol == TCP, protocol);
    (around, Some(record))
}

/// The service at exactly this port (as it lies in the packet) of a VIP.
#[inline(always)]
#[must_use]
pub fn at<I: Ip>(vip: I::Address, port: u16, protocol: u8) -> Option<EndpointRef> {
    EndpointRef::find::<I>(vip, port, protocol, Kind::Service)
}

/// The VIP, or the pool's address, that this address is.
#[inline(always)]
#[must_use]
pub fn vip<I: Ip>(address: I::Address) -> Option<EndpointRef> {
    if !maps::is_known(address) {
        return None;
    }
    known_vip::<I>(address)
}

/// The same, of an address that something of ours may have.
#[inline(always)]
fn known_vip<I: Ip>(address: I::Address) -> Option<EndpointRef> {
    EndpointRef::find::<I>(address, 0, 0, Kind::Vip)
}

/// The service of a range of a VIP's ports. `vip` is the VIP's record, `address` its
/// address.
#[inline(always)]
#[must_use]
pub fn around<I: Ip>(
    vip: EndpointRef,
    address: I::Address,
    port: u16,
    is_tcp: bool,
    protocol: u8,
) -> Option<EndpointRef> {
    let first = vip.range(u16::from_be(port), is_tcp)?;
    at::<I>(address, first.to_be(), protocol)
}

/// The service that a backend belongs to.
#[inline(always)]
#[must_use]
pub fn by<I: Ip>(backend: BackendRef, protocol: u8) -> Option<EndpointRef> {
    at::<I>(backend.vip(), backend.vip_port(), protocol)
}

/// The server of a `nat` service that speaks from this address and port.
#[inline(always)]
#[must_use]
pub fn server<I: Ip>(address: I::Address, port: u16, protocol: u8) -> Option<EndpointRef> {
    if !maps::is_known(address) {
        return None;
    }
    match EndpointRef::find::<I>(address, port, protocol, Kind::Server) {
        None => EndpointRef::find::<I>(address, 0, protocol, Kind::Server),
        found => found,
    }
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
pub fn holding<I: Ip>(address: I::Address) -> Holding {
    match vip::<I>(address) {
        None => Holding::NotVip,
        Some(vip) if clock::monotonic_ns() < vip.deadline() => Holding::Held,
        Some(_) => Holding::NotHeld,
    }
}

/// The verdict on a packet for `destination` that no service takes: `verdict` if that
/// is a VIP, otherwise the node's own stack sees to it.
#[inline(always)]
#[must_use]
pub fn stray<I: Ip>(destination: I::Address, verdict: Verdict) -> Verdict {
    match vip::<I>(destination) {
        None => Verdict::PassNotVip,
        Some(_) => verdict,
    }
}
