//! Network address translation: the backend sees its own address, and its answers
//! come back through us. In `full-nat` it sees an address of ours for the client's.

use lb_common::{
    abi::{Forward, Owner},
    flow::{self, Entry, Tick},
    limits::MAX_NAT_SHARED,
    verdict::Verdict,
};

use super::{
    Carried, Way, refused_back,
    translate::{self, Translation},
};
use crate::{
    clock,
    flow::{Flows, Found},
    frame::{self, Frame},
    icmp::{Message, Quoted},
    ip::{Edit, Ip, New},
    maps::{self, BackendRef, EndpointRef},
    outcome::Outcome,
    packet::Packet,
    parse::{Flow, Reading, Segment, at},
    ports::{self, Held},
    service,
};

/// Translates a packet's destination to the backend. `Some` is the verdict on one
/// that may not go further.
#[inline(always)]
#[must_use]
pub fn forward<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    segment: &impl Reading<I>,
    carried: Carried,
    backend: BackendRef,
) -> Option<Verdict> {
    let port = segment.destination_port();
    let to = Translation {
        edit: Edit {
            hop: true,
            source: New::KEPT,
            destination: New::by(backend.address(), !backend.difference()),
        },
        source_port: New::NONE,
        destination_port: New::to(backend.heard_at(port)),
    };
    if translate::packet(packet, frame, segment, carried, &to).is_none() {
        return Some(Verdict::DropInternal);
    }
    frame::send(packet, frame, backend.hop())
}

/// Translates both ends of a packet: its destination to the backend, and its source to
/// the flow's port of the pool.
#[inline(always)]
#[must_use]
pub fn forward_full<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
    carried: Carried,
    backend: BackendRef,
    place: u32,
) -> Option<Verdict> {
    let Some((address, port)) = ports::socket::<I::Address>(place) else {
        return Some(Verdict::DropInternal);
    };
    let heard = backend.heard_at(segment.destination_port);
    let to = Translation {
        edit: Edit {
            hop: true,
            source: New::to(address),
            destination: New::by(backend.address(), !backend.difference()),
        },
        source_port: New::to(port),
        destination_port: New::to(heard),
    };
    if translate::packet(packet, frame, segment, carried, &to).is_none() {
        return Some(Verdict::DropInternal);
    }
    frame::send(packet, frame, backend.hop())
}

/// Translates an ICMP error about what a backend sent, for that backend.
#[inline(always)]
#[must_use]
pub fn forward_error<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
    quote: &Quoted,
    way: Way,
    mode: Forward,
) -> Option<Verdict> {
    let backend = way.backend;
    let outer = Edit {
        hop: true,
        source: New::KEPT,
        destination: New::to(backend.address()),
    };
    let Some(head) = packet.at::<{ at::UDP }>(quote.l4) else {
        return Some(Verdict::DropInternal);
    };
    let heard = backend.heard_at(head.load::<u16, { at::port::SOURCE }>());
    let mut inner = Translation {
        edit: Edit {
            hop: false,
            source: New::to(backend.address()),
            destination: New::KEPT,
        },
        source_port: New::to(heard),
        destination_port: New::NONE,
    };
    if mode == Forward::FullNat {
        let Some((address, port)) = ports::socket::<I::Address>(way.place) else {
            return Some(Verdict::DropInternal);
        };
        inner.edit.destination = New::to(address);
        inner.destination_port = New::to(port);
    }
    if translate::error(packet, frame, error, quote, &outer, &inner).is_none() {
        return Some(Verdict::DropInternal);
    }
    frame::send(packet, frame, backend.hop())
}

/// A flow that a server speaks in.
pub struct Origin<K> {
    /// The backend that the server is in it.
    pub backend: BackendRef,
    /// Its key.
    key: K,
    /// Its entry.
    entry: Entry,
}

/// The flow that `flow` is to the server, whose endpoint is `server`, if it is one of ours; of
/// that IP protocol.
#[inline(always)]
#[must_use]
pub fn origin<I: Ip, F: Flows<I>>(
    flow: &Flow<I>,
    protocol: u8,
    server: EndpointRef,
) -> Option<Origin<F::Key>> {
    let (mut backend, mut endpoint) = (server.backend(), server);
    for _ in 0..MAX_NAT_SHARED {
        if !backend.is_some() {
            return None;
        }
        let vip_port = backend.spoken_from(flow.vip_port);
        let key = F::key(&Flow { vip_port, ..*flow }, endpoint);
        if let Some(Found { entry, .. }) = F::find(&key)
            && entry.backend() == backend.number()
        {
            return Some(Origin {
                backend,
                key,
                entry,
            });
        }
        backend = BackendRef::get(backend.sharing());
        if backend.is_some() {
            endpoint = service::by::<I>(backend, protocol)?;
        }
    }
    None
}

/// The backend that the server is in that flow, if this is in its home and its entry stays as it
/// is: that of nearly every packet.
#[inline(always)]
#[must_use]
pub fn settled<I: Ip, F: Flows<I>, R: Reading<I>>(
    segment: &R,
    server: EndpointRef,
    now: Tick,
) -> Option<BackendRef> {
    let backend = server.backend();
    let key = F::key_back(segment, backend, server);
    F::is_settled_at_home(&key, backend, now, || segment.flags()).then_some(backend)
}

/// A flow's entry after a server's answer; `None` where it stays as it is.
#[inline(always)]
fn answered<I: Ip>(entry: Entry, segment: &Segment<I>, now: Tick) -> Option<Entry> {
    if flow::is_settled_for_server(entry, now, segment.is_tcp(), segment.flags) {
        return None;
    }
    let state = flow::after_server(entry.state(), segment.is_tcp(), segment.flags);
    Some(entry.touched(now, state))
}

/// A server has spoken in a flow: its entry tells.
#[inline(always)]
pub fn heard<I: Ip, F: Flows<I>>(segment: &Segment<I>, origin: &Origin<F::Key>, now: Tick) {
    // Once in a tick, so it is looked for again rather than its place kept.
    if let Some(entry) = answered(origin.entry, segment, now)
        && let Some(found) = F::find(&origin.key)
        && found.entry == origin.entry
    {
        F::change(F::slot(found), entry);
    }
}

/// Translates a backend's answer back to the client.
#[inline(always)]
#[must_use]
pub fn answer<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    segment: &impl Reading<I>,
    backend: BackendRef,
) -> Outcome {
    let carried = Carried::Segment;
    returned(
        packet,
        frame,
        segment,
        carried,
        backend,
        segment.destination(),
        || source(backend, backend.spoken_from(segment.source_port())),
    )
}

/// Translates a backend's answer in `full-nat` back to the client.
#[inline(always)]
#[must_use]
pub fn answer_full<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
    backend: BackendRef,
    held: Held,
) -> Outcome {
    if let Some(entry) = answered(held.slot.entry, segment, clock::tick()) {
        crate::flow::change(held.slot, entry);
    }
    let (carried, client) = (Carried::Segment, ports::client(&held.owner));
    returned(packet, frame, segment, carried, backend, client, || {
        both(backend, &held.owner)
    })
}

/// The VIP for the server, `backend`, as a packet's source.
#[inline(always)]
#[must_use]
pub fn source<I: Ip>(backend: BackendRef, port: u16) -> Translation<I> {
    Translation {
        edit: Edit {
            hop: false,
            source: New::by(backend.vip(), backend.difference()),
            destination: New::KEPT,
        },
        source_port: New::to(port),
        destination_port: New::NONE,
    }
}

/// The VIP for the server, and the client for the pool's address.
#[inline(always)]
#[must_use]
pub fn both<I: Ip>(backend: BackendRef, owner: &Owner) -> Translation<I> {
    let client = ports::client(owner);
    let mut to = source(backend, owner.vip_port);
    to.edit.destination = New::to(client);
    to.destination_port = New::to(owner.client_port);
    to
}

/// Sends a backend's answer to `client`, translated as `to` says: that is asked for where the packet
/// is edited, so that nothing of it is kept until then.
#[inline(always)]
#[must_use]
pub fn returned<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    segment: &impl Reading<I>,
    carried: Carried,
    backend: BackendRef,
    client: I::Address,
    to: impl Fn() -> Translation<I>,
) -> Outcome {
    let verdict = match carried {
        Carried::Segment => Verdict::ReturnNat,
        Carried::Fragment => Verdict::ReturnFragment,
    };
    // Each way by itself: on neither is asked for again which one it is.
    let Some(hop) = maps::route(client) else {
        // The kernel finds the way, and counts the hop.
        return match translate::packet(packet, frame, segment, carried, &to()) {
            Some(()) => Outcome::here(Verdict::ReturnKernel).from_backend(backend),
            None => Outcome::here(Verdict::DropInternal),
        };
    };
    let told = Some(carried);
    if let Some(refused) = refused_back::<I>(packet, frame, || segment.length(), told, hop) {
        return refused;
    }
    let mut to = to();
    to.edit.hop = true;
    if translate::packet(packet, frame, segment, carried, &to).is_none() {
        return Outcome::here(Verdict::DropInternal);
    }
    match frame::send(packet, frame, hop) {
        Some(refused) => Outcome::here(refused),
        None => Outcome::to(verdict, hop).from_backend(backend),
    }
}
