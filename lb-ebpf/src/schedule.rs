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
    node,
    parse::Segment,
};

/// A backend, and how it was chosen.
pub struct Choice {
    /// Where the segment goes; `None` when it has nowhere to go.
    pub backend: Option<BackendRef>,
    /// How that came.
    pub verdict: Verdict,
}

impl Choice {
    #[inline(always)]
    fn of(backend: BackendRef, verdict: Verdict) -> Self {
        Choice {
            backend: Some(backend),
            verdict,
        }
    }

    #[inline(always)]
    fn none(verdict: Verdict) -> Self {
        Choice {
            backend: None,
            verdict,
        }
    }
}

/// Chooses the backend for a segment: its flow's, or a new one.
#[inline(always)]
#[must_use]
pub fn choose<F: Flows>(service: EndpointRef, segment: &Segment) -> Choice {
    let key = F::key(segment.flow(), service.seed());
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
) -> Choice {
    let entry = slot.entry;
    let Some(backend) = BackendRef::get(entry.backend()) else {
        return Choice::none(Verdict::DropInternal);
    };
    let state = flow::after_client(entry.state(), segment.is_tcp, segment.flags);
    if keeps(backend.state(), segment.opens(), entry, now) {
        F::change(slot, entry.touched(now, state));
        return Choice::of(backend, Verdict::ForwardKnown);
    }
    let (state, verdict) = if segment.opens() {
        (State::New, Verdict::ForwardNew)
    } else {
        (state, Verdict::ForwardMoved)
    };
    let chosen = scheduled(service, segment.opens(), F::hash(key), verdict);
    if let Some(backend) = chosen.backend {
        F::enter(key, slot, backend.number(), now, state);
    }
    chosen
}

/// Whether a known flow stays with its backend. A SYN where the old connection has
/// ended or expired is a new connection (the client uses its port again).
#[inline(always)]
fn keeps(backend: BackendState, opens: bool, flow: Entry, now: Tick) -> bool {
    match backend {
        BackendState::Active => {
            !opens || (flow.state() != State::Closing && !flow.is_expired(now, node::timeouts()))
        }
        BackendState::Draining => !opens,
        BackendState::Down | BackendState::Free => false,
    }
}

#[inline(always)]
fn unknown<F: Flows>(service: EndpointRef, segment: &Segment, key: &F::Key, now: Tick) -> Choice {
    let opens = segment.opens() || !segment.is_tcp;
    // What ends a connection that is not known needs no memory.
    let ends = segment.is_tcp && flow::tcp::closes(segment.flags);
    if !ends && let Some(slot) = F::claim(key, now) {
        let verdict = if opens {
            Verdict::ForwardNew
        } else {
            Verdict::ForwardAdopted
        };
        let chosen = scheduled(service, opens, F::hash(key), verdict);
        let Some(backend) = chosen.backend else {
            return chosen;
        };
        if F::enter(key, slot, backend.number(), now, State::New) {
            return chosen;
        }
    }
    // Without an entry every packet of the flow must find the same backend, so it is
    // the hash that chooses.
    scheduled(service, false, F::hash(key), Verdict::ForwardUntracked)
}

/// The backend whose turn it is: by the service's scheduler for what `opens` a
/// connection, otherwise by the flow's hash. `verdict` if there is one.
#[inline(always)]
fn scheduled(service: EndpointRef, opens: bool, hash: u64, verdict: Verdict) -> Choice {
    let wheel = service.wheel();
    if wheel.length == 0 {
        return Choice::none(Verdict::DropNoBackend);
    }
    let place = if opens && service.index() == Index::Counter as u8 {
        maps::advance(service.number(), wheel.length)
    } else {
        hash::reduce(hash, wheel.length)
    };
    match BackendRef::get(maps::wheel_entry(wheel, place)) {
        Some(backend) if backend.number() != 0 => Choice::of(backend, verdict),
        _ => Choice::none(Verdict::DropInternal),
    }
}
