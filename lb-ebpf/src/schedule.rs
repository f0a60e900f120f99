//! Which backend a segment for a service goes to.

use lb_common::{
    abi::BackendState,
    flow::{self, Entry, State, Tick},
    hash,
    verdict::Verdict,
    wheel::Index,
};

use crate::{
    clock,
    flow::{Flows, Slot},
    maps::{self, BackendRef, EndpointRef},
    parse::Segment,
};

/// A backend, and how it was chosen.
pub struct Choice {
    /// Where the segment goes.
    pub backend: BackendRef,
    /// How that came.
    pub verdict: Verdict,
}

/// Chooses the backend for a segment: its flow's, or a new one.
///
/// # Errors
///
/// The verdict on a segment that has nowhere to go.
#[inline(always)]
pub fn choose<F: Flows>(service: EndpointRef, segment: &Segment) -> Result<Choice, Verdict> {
    let key = F::key(segment.tuple());
    let now = clock::tick();
    match F::find(&key) {
        Some(slot) => known::<F>(service, segment, &key, slot, now),
        None => unknown::<F>(service, segment, &key, now),
    }
}

#[inline(always)]
fn known<F: Flows>(
    service: EndpointRef,
    segment: &Segment,
    key: &F::Key,
    slot: Slot,
    now: Tick,
) -> Result<Choice, Verdict> {
    let entry = slot.entry;
    let backend = BackendRef::get(entry.backend()).ok_or(Verdict::DropInternal)?;
    let state = flow::after_client(entry.state(), segment.is_tcp(), segment.flags);
    if keeps(backend.state(), segment.opens(), entry.state()) {
        F::change(slot, entry.touched(now, state));
        return Ok(Choice {
            backend,
            verdict: Verdict::ForwardKnown,
        });
    }
    let (backend, state, verdict) = if segment.opens() {
        (
            next(service, F::hash(key))?,
            State::New,
            Verdict::ForwardNew,
        )
    } else {
        (
            by_hash(service, F::hash(key))?,
            state,
            Verdict::ForwardMoved,
        )
    };
    F::enter(key, slot, |fingerprint| {
        Entry::new(fingerprint, backend.number(), now, state)
    });
    Ok(Choice { backend, verdict })
}

/// Whether a known flow stays with its backend. A SYN where the old connection has
/// ended is a new connection (the client uses its port again).
#[inline(always)]
fn keeps(backend: BackendState, opens: bool, flow: State) -> bool {
    match backend {
        BackendState::Active => !(opens && flow == State::Closing),
        BackendState::Draining => !opens,
        BackendState::Down | BackendState::Free => false,
    }
}

#[inline(always)]
fn unknown<F: Flows>(
    service: EndpointRef,
    segment: &Segment,
    key: &F::Key,
    now: Tick,
) -> Result<Choice, Verdict> {
    let opens = segment.opens() || !segment.is_tcp();
    // What ends a connection that is not known needs no memory.
    let ends = segment.is_tcp() && flow::tcp::closes(segment.flags);
    if !ends {
        if let Some(slot) = F::claim(key, now) {
            let hash = F::hash(key);
            let (backend, verdict) = if opens {
                (next(service, hash)?, Verdict::ForwardNew)
            } else {
                (by_hash(service, hash)?, Verdict::ForwardAdopted)
            };
            let make = |print| Entry::new(print, backend.number(), now, State::New);
            if F::enter(key, slot, make) {
                return Ok(Choice { backend, verdict });
            }
        }
    }
    // Without an entry every packet of the flow must find the same backend, so it is
    // the hash that chooses.
    Ok(Choice {
        backend: by_hash(service, F::hash(key))?,
        verdict: Verdict::ForwardUntracked,
    })
}

/// The backend whose turn it is, by the service's scheduler.
#[inline(always)]
fn next(service: EndpointRef, hash: u64) -> Result<BackendRef, Verdict> {
    if service.index() != Index::Counter as u8 {
        return by_hash(service, hash);
    }
    let wheel = service.wheel();
    if wheel.length == 0 {
        return Err(Verdict::DropNoBackend);
    }
    let place = maps::advance(service.number(), wheel.length).ok_or(Verdict::DropInternal)?;
    entry(wheel, place)
}

/// The backend that the flow's hash chooses.
#[inline(always)]
fn by_hash(service: EndpointRef, hash: u64) -> Result<BackendRef, Verdict> {
    let wheel = service.wheel();
    if wheel.length == 0 {
        return Err(Verdict::DropNoBackend);
    }
    entry(wheel, hash::reduce(hash, wheel.length))
}

#[inline(always)]
fn entry(wheel: lb_common::abi::Wheel, place: u32) -> Result<BackendRef, Verdict> {
    let number = maps::wheel_entry(wheel, place).ok_or(Verdict::DropInternal)?;
    BackendRef::get(number).ok_or(Verdict::DropInternal)
}
