//! Network address translation: the backend sees its own address, and its answers
//! come back through us.

use lb_common::{
    checksum::Delta,
    flow::{self},
    hash::Tuple,
    limits::MAX_NAT_SHARED,
    verdict::Verdict,
};

use super::link;
use crate::{
    clock,
    flow::Flows,
    maps::{self, BackendRef, EndpointRef, HopWords},
    packet::Window,
    parse::{Segment, Transport, UDP_LEN, at},
    pipeline::Outcome,
};

/// Translates a segment's destination to the backend.
///
/// # Errors
///
/// The verdict on a segment whose time to live has run out.
#[inline(always)]
pub fn forward(segment: &Segment, backend: BackendRef) -> Result<(), Verdict> {
    let head = segment.head();
    let (address, port) = (backend.address(), backend.port());
    let hopped = hop(head).ok_or(Verdict::DropTtl)?;
    let moved = Delta::new().pair(segment.destination, address);
    ip(head, moved, hopped);
    l4(segment, moved.word(segment.destination_port, port));
    head.store::<u32, { at::IP_DESTINATION }>(address);
    head.store::<u16, { at::PORT_DESTINATION }>(port);
    link(head, backend.hop());
    Ok(())
}

/// Translates a server's answer back, if it belongs to a flow of ours. `server` is
/// the endpoint that it comes from.
#[inline(always)]
pub fn back<F: Flows>(segment: &Segment, server: EndpointRef) -> Option<Outcome> {
    let mut number = server.number() as u16;
    for _ in 0..MAX_NAT_SHARED {
        if number == 0 {
            return None;
        }
        let backend = BackendRef::get(number)?;
        // The flow as the client began it.
        let key = F::key(Tuple {
            client: segment.destination,
            vip: backend.vip(),
            client_port: segment.destination_port,
            vip_port: backend.vip_port(),
            protocol: segment.protocol(),
        });
        if let Some(slot) = F::find(&key)
            && slot.entry.backend() == number
        {
            let state = flow::after_server(slot.entry.state(), segment.is_tcp(), segment.flags);
            F::change(slot, slot.entry.touched(clock::tick(), state));
            return Some(answer(segment, backend));
        }
        number = backend.sharing();
    }
    None
}

#[inline(always)]
fn answer(segment: &Segment, backend: BackendRef) -> Outcome {
    let head = segment.head();
    let route = maps::route(segment.destination);
    let hopped = match route {
        // The kernel, which routes it then, counts the hop itself.
        None => Delta::new(),
        Some(_) => match hop(head) {
            Some(hopped) => hopped,
            None => return Outcome::here(Verdict::DropTtl),
        },
    };
    let moved = Delta::new().pair(segment.source, backend.vip());
    ip(head, moved, hopped);
    l4(segment, moved.word(segment.source_port, backend.vip_port()));
    head.store::<u32, { at::IP_SOURCE }>(backend.vip());
    head.store::<u16, { at::PORT_SOURCE }>(backend.vip_port());
    backend.count_out(segment.length);
    match route {
        None => Outcome::here(Verdict::ReturnKernel),
        Some(hop) => back_to(head, hop),
    }
}

#[inline(always)]
fn back_to(head: Window<UDP_LEN>, hop: HopWords) -> Outcome {
    link(head, hop);
    Outcome::to(Verdict::ReturnNat, hop)
}

/// Counts a hop (RFC 1812 section 5.3.1); `None` when that was the last.
#[inline(always)]
fn hop(head: Window<UDP_LEN>) -> Option<Delta> {
    let old = head.load::<u16, { at::IP_TTL }>();
    // Time to live is the first byte of the word, the protocol the second.
    let ttl = old.to_be() >> 8;
    if ttl <= 1 {
        return None;
    }
    let new = (old.to_be() - 0x100).to_be();
    head.store::<u16, { at::IP_TTL }>(new);
    Some(Delta::new().word(old, new))
}

#[inline(always)]
fn ip(head: Window<UDP_LEN>, moved: Delta, hopped: Delta) {
    let checksum = head.load::<u16, { at::IP_CHECKSUM }>();
    head.store::<u16, { at::IP_CHECKSUM }>(moved.and(hopped).apply(checksum));
}

#[inline(always)]
fn l4(segment: &Segment, delta: Delta) {
    match segment.transport {
        Transport::Tcp(window) => {
            let checksum = window.load::<u16, { at::TCP_CHECKSUM }>();
            window.store::<u16, { at::TCP_CHECKSUM }>(delta.apply(checksum));
        }
        Transport::Udp(window) => {
            let checksum = window.load::<u16, { at::UDP_CHECKSUM }>();
            window.store::<u16, { at::UDP_CHECKSUM }>(delta.apply_udp(checksum));
        }
    }
}
