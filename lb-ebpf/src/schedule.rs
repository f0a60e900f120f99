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
    ip::Ip,
    maps::{self, BackendRef, EndpointRef},
    node,
    parse::Segment,
};

/// A backend, and how it was chosen.
pub struct Choice {
    /// Where the segment goes; `None` when it has nowhere to go.
    pub backend: Option<BackendRef>,
    /// How that came: the verdict's number.
    pub verdict: u32,
    /// Connections that begin by it: 1 or 0.
    pub opened: u64,
    /// The number of the flow's place, see [`Slot::number`].
    pub place: u32,
}

impl Choice {
    #[inline(always)]
    fn of(backend: BackendRef, verdict: Verdict) -> Self {
        Choice {
            backend: Some(backend),
            verdict: verdict as u32,
            opened: u64::from(verdict as u32 == Verdict::ForwardNew as u32),
            place: 0,
        }
    }

    #[inline(always)]
    fn at(self, slot: Slot) -> Self {
        Choice {
            place: slot.number,
            ..self
        }
    }

    #[inline(always)]
    fn none(verdict: Verdict) -> Self {
        Choice {
            backend: None,
            verdict: verdict as u32,
            opened: 0,
            place: 0,
        }
    }
}

/// Chooses the backend for a segment: its flow's, or a new one.
#[inline(always)]
#[must_use]
pub fn choose<I: Ip, F: Flows<I>>(
    service: EndpointRef,
    segment: &Segment<I>,
    key: &F::Key,
) -> Choice {
    let now = clock::tick();
    let choice = match F::find(key) {
        Some(slot) => known::<I, F>(service, segment, key, slot, now),
        None => unknown::<I, F>(service, segment, key, now),
    };
    Choice {
        verdict: node::any(u64::from(choice.verdict)) as u32,
        ..choice
    }
}

#[inline(always)]
fn known<I: Ip, F: Flows<I>>(
    service: EndpointRef,
    segment: &Segment<I>,
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
        return Choice::of(backend, Verdict::ForwardKnown).at(slot);
    }
    let (state, verdict) = if segment.opens() {
        (State::New, Verdict::ForwardNew)
    } else {
        (state, Verdict::ForwardMoved)
    };
    let chosen = scheduled(service, segment.opens(), F::hash(key), verdict);
    if let Some(backend) = chosen.backend {
        F::change(slot, entry.moved(backend.number(), now, state));
    }
    chosen.at(slot)
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
fn unknown<I: Ip, F: Flows<I>>(
    service: EndpointRef,
    segment: &Segment<I>,
    key: &F::Key,
    now: Tick,
) -> Choice {
    let opens = segment.opens() || !segment.is_tcp;
    // What ends a connection that is not known needs no memory.
    let ends = segment.is_tcp && flow::tcp::closes(segment.flags);
    if ends && F::NEEDED {
        return Choice::none(Verdict::DropClosedPort);
    }
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
            return chosen.at(slot);
        }
    }
    if F::NEEDED {
        return faster::<I, F>(key);
    }
    // Without an entry every packet of the flow must find the same backend, so it is
    // the hash that chooses.
    scheduled(service, false, F::hash(key), Verdict::ForwardUntracked)
}

/// What another CPU has chosen for the flow, if one was faster.
#[inline(always)]
fn faster<I: Ip, F: Flows<I>>(key: &F::Key) -> Choice {
    let Some(slot) = F::find(key) else {
        return Choice::none(Verdict::DropNoPort);
    };
    match BackendRef::get(slot.entry.backend()) {
        Some(backend) => Choice::of(backend, Verdict::ForwardKnown).at(slot),
        None => Choice::none(Verdict::DropInternal),
    }
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
