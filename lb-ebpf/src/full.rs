//! `full-nat`'s way, both ways: by the flow's port of the pool.

use lb_common::verdict::Verdict;

use crate::{
    clock,
    flow::Flows,
    fragment,
    frame::Frame,
    ip::Ip,
    maps::{BackendRef, EndpointRef},
    outcome::{Outcome, Step},
    packet::{Context, Packet},
    parse::Segment,
    pipeline::{again, is_returned},
    ports::{self, Ports},
    rewrite::{self, Carried, Way, nat},
    schedule::{self, Choice},
    service,
};

/// Finds a plain packet's port, and sends it to its server from there.
#[inline(always)]
#[must_use]
pub fn plain<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let Some((frame, segment)) = &again::<I, true>(packet) else {
        return Outcome::here(Verdict::DropInternal);
    };
    let Choice {
        backend,
        verdict,
        place,
    } = choice(segment, EndpointRef::at(step.told_number()));
    if !backend.is_some() {
        return Outcome::numbered(verdict);
    }
    let carried = Carried::Segment;
    if let Some(refused) = rewrite::forward_full(packet, frame, segment, carried, backend, place) {
        return refused;
    }
    Outcome::to_backend(verdict, backend)
}

/// Finds the port of any other packet, and leaves the rest to the next step: it holds what this
/// one needs the stack for.
#[inline(always)]
#[must_use]
pub fn port<I: Ip>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let Some((_, segment)) = &again::<I, false>(packet) else {
        return Outcome::here(Verdict::DropInternal);
    };
    let Some(service) = service::of(segment).0 else {
        return Outcome::next::<I>(Step::FromFull);
    };
    let choice = choice(segment, service);
    if !choice.backend.is_some() {
        return Outcome::numbered(choice.verdict);
    }
    Outcome::next::<I>(Step::ToFull)
        .with(choice.verdict as usize)
        .with_number(choice.place)
}

/// The server of a segment's flow, and its port.
#[inline(always)]
fn choice<I: Ip>(segment: &Segment<I>, service: EndpointRef) -> Choice {
    let now = clock::tick();
    let key = <Ports as Flows<I>>::key(&segment.flow(), service);
    schedule::choose::<I, Ports>(service, segment, &key, now)
}

/// Sends a packet to its server from the flow's port.
#[inline(always)]
#[must_use]
pub fn to_server<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let Some((frame, segment)) = &again::<I, false>(packet) else {
        return Outcome::here(Verdict::DropInternal);
    };
    let Some(held) = ports::at(step.told_number()) else {
        return Outcome::here(Verdict::DropInternal);
    };
    let backend = BackendRef::get(held.slot.entry.backend());
    let place = step.told_number();
    let carried = Carried::Segment;
    if let Some(refused) = rewrite::forward_full(packet, frame, segment, carried, backend, place) {
        return refused;
    }
    if segment.is_first {
        let way = Way {
            backend,
            hash: 0,
            place,
        };
        fragment::forth(segment, way);
    }
    Outcome::to_backend(step.small() as u32, backend)
}

/// To an address of ours, but to none of its services: the answer of a server, or to
/// nobody.
#[inline(always)]
#[must_use]
pub fn from_server<I: Ip>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let Some((frame, segment)) = &again::<I, false>(packet) else {
        return Outcome::here(Verdict::DropInternal);
    };
    match service::vip::<I>(segment.destination) {
        Some(vip) => to_pool(packet, frame, segment, vip),
        None => Outcome::here(Verdict::DropInternal),
    }
}

/// The same of a plain packet.
#[inline(always)]
#[must_use]
pub fn plain_from_server<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let Some((frame, segment)) = &again::<I, true>(packet) else {
        return Outcome::here(Verdict::DropInternal);
    };
    let vip = EndpointRef::at(step.told_number());
    to_pool(packet, frame, segment, vip)
}

#[inline(always)]
fn to_pool<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
    vip: EndpointRef,
) -> Outcome {
    let nobody = Outcome::here(Verdict::DropClosedPort);
    let place = vip.index();
    if place == 0 {
        return nobody;
    }
    let port = u16::from_be(segment.destination_port);
    let Some(held) = ports::held(u32::from(place) - 1, port) else {
        return nobody;
    };
    let backend = BackendRef::get(held.slot.entry.backend());
    let it = backend.address::<I::Address>() == segment.source
        && backend.heard_at(held.owner.vip_port) == segment.source_port
        && backend.protocol() == segment.protocol;
    if !it {
        return nobody;
    }
    let outcome = nat::answer_full(packet, frame, segment, backend, held);
    if segment.is_first && is_returned(outcome) {
        fragment::back(segment, backend, held.slot.number);
    }
    outcome
}
