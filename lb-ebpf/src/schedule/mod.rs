//! Which backend a segment for a service goes to.

mod stable;

use core::hint;

use lb_common::{
    abi::BackendState,
    flow::{self, Entry, State, Tick},
    verdict::Verdict,
};

pub use stable::{changing, lasting, stable};

use crate::{
    flow::{Flows, Found, Slot},
    ip::Ip,
    maps::{BackendRef, EndpointRef},
    node,
    parse::Reading,
    turn, watch,
};

/// A backend, and how it was chosen.
pub struct Choice {
    /// Where the segment goes; [`BackendRef::none`] when it has nowhere to go.
    pub backend: BackendRef,
    /// How that came: the verdict's number.
    pub verdict: u32,
    /// The number of the flow's place, see [`Slot::number`].
    pub place: u32,
}

impl Choice {
    #[inline(always)]
    fn of(backend: BackendRef, verdict: Verdict) -> Self {
        Choice {
            backend,
            verdict: verdict as u32,
            place: 0,
        }
    }

    /// Whether the backend keeps the flows that it has.
    #[inline(always)]
    #[must_use]
    pub fn keeps_flows(&self) -> bool {
        if !self.backend.keeps_flows() {
            return false;
        }
        // SAFETY: the record of number 0 stays free, and a free one keeps no flows.
        unsafe { hint::assert_unchecked(self.backend.is_some()) };
        true
    }

    /// The same choice, of which the verifier doesn't know how it came.
    #[inline(always)]
    fn any(self) -> Self {
        Choice {
            verdict: node::any(u64::from(self.verdict)) as u32,
            ..self
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
            backend: BackendRef::none(),
            verdict: verdict as u32,
            place: 0,
        }
    }
}

/// Chooses the backend for a segment: its flow's, or a new one.
#[inline(always)]
#[must_use]
pub fn choose<I: Ip, F: Flows<I>>(
    service: EndpointRef,
    segment: &impl Reading<I>,
    key: &F::Key,
    now: Tick,
) -> Choice {
    let found = F::look(key);
    let known = found.as_ref().ok().map(|found| (found.entry, found.number));
    match settled(known, now, || segment.flags()) {
        Some(choice) if choice.keeps_flows() => choice,
        _ => chosen::<I, F>(service, segment, key, now, found),
    }
}

/// The choice of a known flow whose entry stays as it is, if its backend keeps the flows that it
/// has: that of nearly every packet. It has this entry, in the place of that number (see
/// [`Slot::number`]).
#[inline(always)]
#[must_use]
pub fn settled(
    known: Option<(Entry, u32)>,
    now: Tick,
    flags: impl FnOnce() -> u8,
) -> Option<Choice> {
    let (entry, number) = known?;
    let backend = BackendRef::get(entry.backend());
    flow::is_settled(entry, now, flags).then_some(Choice {
        backend,
        verdict: Verdict::ForwardKnown as u32,
        place: number,
    })
}

/// The choice of any other flow.
#[inline(always)]
#[must_use]
pub fn chosen<I: Ip, F: Flows<I>>(
    service: EndpointRef,
    segment: &impl Reading<I>,
    key: &F::Key,
    now: Tick,
    found: Result<Found, F::Room>,
) -> Choice {
    let slot = match found {
        Ok(found) => F::slot(found),
        Err(room) => return unknown::<I, F>(service, segment, key, room, now).any(),
    };
    let backend = BackendRef::get(slot.entry.backend());
    if keeps(backend.state(), segment.opens(), slot.entry, now) {
        kept::<I, F>(segment, slot, now, backend)
    } else {
        let (opens, verdict) = (segment.opens(), again(segment));
        let chosen = scheduled::<I>(
            service,
            opens,
            F::hash(key),
            || segment.flow().client,
            verdict,
        );
        moved::<I, F>(segment, slot, now, chosen)
    }
    .any()
}

/// A known flow keeps its backend.
#[inline(always)]
fn kept<I: Ip, F: Flows<I>>(
    segment: &impl Reading<I>,
    slot: Slot,
    now: Tick,
    backend: BackendRef,
) -> Choice {
    let state = flow::after_client(slot.entry.state(), segment.is_tcp(), segment.flags());
    F::change(slot, slot.entry.touched(now, state));
    Choice::of(backend, Verdict::ForwardKnown).at(slot)
}

/// How a known flow that can't keep its backend gets another.
#[inline(always)]
fn again<I: Ip>(segment: &impl Reading<I>) -> Verdict {
    if segment.opens() {
        Verdict::ForwardNew
    } else {
        Verdict::ForwardMoved
    }
}

/// Enters the backend that was chosen again for a known flow.
#[inline(always)]
fn moved<I: Ip, F: Flows<I>>(
    segment: &impl Reading<I>,
    slot: Slot,
    now: Tick,
    chosen: Choice,
) -> Choice {
    let state = if segment.opens() {
        State::New
    } else {
        flow::after_client(slot.entry.state(), segment.is_tcp(), segment.flags())
    };
    if chosen.backend.is_some() {
        F::change(slot, slot.entry.moved(chosen.backend.number(), now, state));
        if segment.opens() {
            watch::opened(segment, chosen.backend);
        }
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
    segment: &impl Reading<I>,
    key: &F::Key,
    room: F::Room,
    now: Tick,
) -> Choice {
    // A flow of UDP opens with any of its packets.
    let flags = if segment.is_tcp() {
        segment.flags()
    } else {
        flow::tcp::SYN
    };
    let opens = flow::tcp::opens(flags);
    // What ends a connection that is not known needs no memory.
    let ends = flow::tcp::closes(flags);
    if ends && F::NEEDED {
        return Choice::none(Verdict::DropClosedPort);
    }
    if !ends && let Some(slot) = F::claim(key, room, now) {
        let verdict = if opens {
            Verdict::ForwardNew
        } else {
            Verdict::ForwardAdopted
        };
        let chosen = scheduled::<I>(
            service,
            opens,
            F::hash(key),
            || segment.flow().client,
            verdict,
        );
        if !chosen.backend.is_some() {
            return chosen;
        }
        if F::enter(key, slot, chosen.backend.number(), now, State::New) {
            if opens {
                watch::opened(segment, chosen.backend);
            }
            return chosen.at(slot);
        }
    }
    if F::NEEDED {
        return faster::<I, F>(key);
    }
    // Without an entry every packet of the flow must find the same backend, so it is
    // the hash that chooses.
    scheduled::<I>(
        service,
        false,
        F::hash(key),
        || segment.flow().client,
        Verdict::ForwardUntracked,
    )
}

/// What another CPU has chosen for the flow, if one was faster.
#[inline(always)]
fn faster<I: Ip, F: Flows<I>>(key: &F::Key) -> Choice {
    let Some(found) = F::find(key) else {
        return Choice::none(Verdict::DropNoPort);
    };
    let backend = BackendRef::get(found.entry.backend());
    Choice::of(backend, Verdict::ForwardKnown).at(F::slot(found))
}

/// The backend whose turn it is: by the service's scheduler for what `opens` a
/// connection, otherwise by the flow's hash. `verdict` if there is one.
#[inline(always)]
fn scheduled<I: Ip>(
    service: EndpointRef,
    opens: bool,
    hash: u64,
    client: impl FnOnce() -> I::Address,
    verdict: Verdict,
) -> Choice {
    let slot = if opens {
        turn::next(service, hash, client)
    } else {
        turn::steady(service, hash, client)
    };
    let Some(slot) = slot else {
        return Choice::none(Verdict::DropNoBackend);
    };
    given(slot.backend(), verdict)
}

/// The backend of that number.
#[inline(always)]
fn given(number: u16, verdict: Verdict) -> Choice {
    if number == 0 {
        return Choice::none(Verdict::DropInternal);
    }
    Choice::of(BackendRef::get(number), verdict)
}
