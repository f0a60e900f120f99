//! Later fragments follow their first one: they have no ports to be told by.

use lb_common::{
    abi::{self, BackendState, FRAGMENT_LIFE, Family, FragmentKey},
    verdict::Verdict,
};

use crate::{
    clock,
    frame::Frame,
    ip::{Address, Ip},
    maps::{self, BackendRef},
    outcome::Outcome,
    packet::Packet,
    parse::Segment,
    ports,
    rewrite::{self, Carried, Way, nat},
    service,
};

/// To the backend.
const FORTH: u8 = 0;
/// From it to the client.
const BACK: u8 = 1;
/// What IPv6 has for a protocol number: there the identification alone tells.
const ANY: u32 = 256;

#[inline(always)]
fn key<I: Ip>(segment: &Segment<I>) -> FragmentKey {
    let protocol = match I::FAMILY {
        Family::V4 => u32::from(segment.protocol),
        Family::V6 => ANY,
    };
    FragmentKey {
        source: segment.source.words(),
        destination: segment.destination.words(),
        id: segment.id,
        protocol,
    }
}

/// Remembers where the fragments behind this first one go.
#[inline(always)]
pub fn forth<I: Ip>(segment: &Segment<I>, way: Way) {
    remember(segment, way.backend, way.hash, way.place, FORTH);
}

/// Remembers that the fragments behind this first one come from `backend`; `place` is the
/// flow's port in `full-nat`.
#[inline(always)]
pub fn back<I: Ip>(segment: &Segment<I>, backend: BackendRef, place: u32) {
    remember(segment, backend, 0, place, BACK);
}

#[inline(always)]
fn remember<I: Ip>(segment: &Segment<I>, backend: BackendRef, hash: u64, port: u32, way: u8) {
    let fragment = abi::Fragment {
        deadline: clock::monotonic_ns() + FRAGMENT_LIFE,
        hash,
        port,
        backend: backend.number(),
        way,
        reserved: 0,
    };
    maps::remember(&key(segment), &fragment);
}

/// Sends a later fragment where its first one went.
#[inline(always)]
#[must_use]
pub fn follow<I: Ip>(packet: &Packet, frame: &Frame, segment: &Segment<I>) -> Outcome {
    let lost = || {
        Outcome::here(service::stray::<I>(
            segment.destination,
            Verdict::DropFragment,
        ))
    };
    let Some(first) = maps::fragment(&key(segment)) else {
        return lost();
    };
    let backend = BackendRef::get(first.backend);
    // What a server of `nat` still sends is no news from us.
    let is_full = backend.forward() == Some(abi::Forward::FullNat);
    let gone = matches!(backend.state(), BackendState::Free | BackendState::Down)
        && (first.way == FORTH || is_full);
    if clock::monotonic_ns() >= first.deadline || gone {
        return lost();
    }
    if first.way == FORTH {
        let way = Way {
            backend,
            hash: first.hash,
            place: first.port,
        };
        let refused = if is_full {
            let carried = Carried::Fragment;
            rewrite::forward_full(packet, frame, segment, carried, backend, first.port)
        } else {
            let verdict = Verdict::ForwardFragment as u32;
            let carried = Carried::Fragment;
            rewrite::forward(packet, frame, segment, carried, way, verdict)
        };
        if let Some(refused) = refused {
            return refused;
        }
        return Outcome::to_backend(Verdict::ForwardFragment as u32, backend);
    }
    let (client, to) = if is_full {
        let Some(held) = ports::at(first.port) else {
            return lost();
        };
        (ports::client(&held.owner), nat::both(backend, &held.owner))
    } else {
        (segment.destination, nat::source(backend, 0))
    };
    let carried = Carried::Fragment;
    nat::returned(packet, frame, segment, carried, backend, client, || to)
}
