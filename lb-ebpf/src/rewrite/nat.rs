//! Network address translation: the backend sees its own address, and its answers
//! come back through us.

use lb_common::{checksum::Delta, flow, limits::MAX_NAT_SHARED, verdict::Verdict};

use super::link;
use crate::{
    clock,
    flow::Flows,
    maps::{self, BackendRef, EndpointRef},
    packet::{Packet, Window},
    parse::{Flow, Segment, TCP_LEN, UDP_LEN, at},
    pipeline::Outcome,
    service,
};

/// Translates a segment's destination to the backend. `Some` is the verdict on one
/// that may not go further.
#[inline(always)]
#[must_use]
pub fn forward(packet: &Packet, segment: &Segment, backend: BackendRef) -> Option<Verdict> {
    let Some(head) = packet.window::<UDP_LEN>() else {
        return Some(Verdict::DropInternal);
    };
    let ttl = head.load::<u16, { at::IP_TTL }>();
    if is_last(ttl) {
        return Some(Verdict::DropTtl);
    }
    let (address, port) = (backend.address(), backend.port());
    let moved = Delta::new().pair(segment.destination, address);
    ip(head, hop(head, ttl, moved));
    l4(packet, segment, moved.word(segment.destination_port, port));
    head.store::<u32, { at::IP_DESTINATION }>(address);
    head.store::<u16, { at::PORT_DESTINATION }>(port);
    link(head, backend.hop());
    None
}

/// The backend whose answer a segment is, if it belongs to a flow of ours. `server` is
/// the endpoint that it comes from.
#[inline(always)]
#[must_use]
pub fn origin<F: Flows>(segment: &Segment, server: EndpointRef) -> Option<BackendRef> {
    let mut number = server.number() as u16;
    let mut seed = server.seed();
    for _ in 0..MAX_NAT_SHARED {
        if number == 0 {
            return None;
        }
        let backend = BackendRef::get(number)?;
        // The flow as the client began it.
        let flow = Flow {
            client: segment.destination,
            vip: backend.vip(),
            client_port: segment.destination_port,
            vip_port: backend.vip_port(),
            protocol: segment.protocol(),
        };
        let key = F::key(flow, seed);
        if let Some(slot) = F::find(&key)
            && slot.entry.backend() == number
        {
            let state = flow::after_server(slot.entry.state(), segment.is_tcp, segment.flags);
            F::change(slot, slot.entry.touched(clock::tick(), state));
            return Some(backend);
        }
        number = backend.sharing();
        if number != 0 {
            seed = service::by(BackendRef::get(number)?, segment.protocol())?.seed();
        }
    }
    None
}

/// Translates a backend's answer back to the client.
#[inline(always)]
#[must_use]
pub fn back(packet: &Packet, segment: &Segment, backend: BackendRef) -> Outcome {
    let Some(head) = packet.window::<UDP_LEN>() else {
        return Outcome::here(Verdict::DropInternal);
    };
    let moved = Delta::new().pair(segment.source, backend.vip());
    let Some(route) = maps::route(segment.destination) else {
        // The kernel routes it then, and counts the hop itself.
        source(packet, segment, backend, moved, moved);
        return Outcome::here(Verdict::ReturnKernel);
    };
    let ttl = head.load::<u16, { at::IP_TTL }>();
    if is_last(ttl) {
        return Outcome::here(Verdict::DropTtl);
    }
    source(packet, segment, backend, hop(head, ttl, moved), moved);
    link(head, route);
    Outcome::to(Verdict::ReturnNat, route)
}

/// Writes the VIP for the server's address and port, with the differences that the
/// header's and the segment's checksums are to show.
#[inline(always)]
fn source(packet: &Packet, segment: &Segment, backend: BackendRef, header: Delta, moved: Delta) {
    let Some(head) = packet.window::<UDP_LEN>() else {
        return;
    };
    ip(head, header);
    l4(
        packet,
        segment,
        moved.word(segment.source_port, backend.vip_port()),
    );
    head.store::<u32, { at::IP_SOURCE }>(backend.vip());
    head.store::<u16, { at::PORT_SOURCE }>(backend.vip_port());
    backend.count_out(segment.length);
}

/// Whether a packet with this time to live, the first byte of the word, ends here
/// (RFC 1812 section 5.3.1).
#[inline(always)]
fn is_last(ttl: u16) -> bool {
    u16::from_be(ttl) >> 8 <= 1
}

/// Counts a hop; adds the difference to `delta`.
#[inline(always)]
fn hop(head: Window<UDP_LEN>, ttl: u16, delta: Delta) -> Delta {
    let less = (u16::from_be(ttl) - 0x100).to_be();
    head.store::<u16, { at::IP_TTL }>(less);
    delta.word(ttl, less)
}

#[inline(always)]
fn ip(head: Window<UDP_LEN>, delta: Delta) {
    let checksum = head.load::<u16, { at::IP_CHECKSUM }>();
    head.store::<u16, { at::IP_CHECKSUM }>(delta.apply(checksum));
}

#[inline(always)]
fn l4(packet: &Packet, segment: &Segment, delta: Delta) {
    if segment.is_tcp {
        if let Some(tcp) = packet.window::<TCP_LEN>() {
            let checksum = tcp.load::<u16, { at::TCP_CHECKSUM }>();
            tcp.store::<u16, { at::TCP_CHECKSUM }>(delta.apply(checksum));
        }
    } else if let Some(udp) = packet.window::<UDP_LEN>() {
        let checksum = udp.load::<u16, { at::UDP_CHECKSUM }>();
        udp.store::<u16, { at::UDP_CHECKSUM }>(delta.apply_udp(checksum));
    }
}
