//! Services whose flows are kept only while their places in the wheel change hands: else each place tells
//! the backend of all of its flows.

use lb_common::{
    abi::BackendState,
    flow::{self, State},
    verdict::Verdict,
    wheel,
};

use super::{Choice, again, given, keeps, kept, moved};
use crate::{
    clock,
    flow::Flows,
    ip::Ip,
    maps::{BackendRef, EndpointRef},
    node,
    parse::Reading,
    turn, watch,
};

/// The choice of a segment of a service that keeps flows only while their place in the wheel
/// changes hands, where it doesn't and the segment opens nothing: that of nearly every packet.
#[inline(always)]
#[must_use]
pub fn lasting(slot: Option<wheel::Slot>, opens: impl FnOnce() -> bool) -> Option<Choice> {
    let slot = slot?;
    if !slot.is_stable() || opens() {
        return None;
    }
    // The same backend, by one instruction less.
    let backend = BackendRef::get(slot.before());
    Some(Choice::of(backend, Verdict::ForwardStable))
}

/// The same for any segment. `None` while its place changes hands: see [`changing`].
#[inline(always)]
#[must_use]
pub fn stable<I: Ip>(slot: Option<wheel::Slot>, segment: &impl Reading<I>) -> Option<Choice> {
    let Some(slot) = slot else {
        return Some(Choice::none(Verdict::DropNoBackend));
    };
    if !slot.is_stable() {
        return None;
    }
    if !segment.opens() {
        return Some(handed(slot.backend(), Verdict::ForwardStable));
    }
    let choice = handed(slot.backend(), Verdict::ForwardNew);
    if choice.backend.is_some() {
        watch::opened(segment, choice.backend);
    }
    Some(choice)
}

/// The backend of that number; a place that nobody has taken over has 0.
#[inline(always)]
fn handed(number: u16, verdict: Verdict) -> Choice {
    if number == 0 {
        return Choice::none(Verdict::DropNoBackend);
    }
    given(number, verdict)
}

/// The same, while its place changes hands.
#[inline(always)]
#[must_use]
pub fn changing<I: Ip, F: Flows<I>>(
    service: EndpointRef,
    segment: &impl Reading<I>,
    key: &F::Key,
) -> Choice {
    let Some(slot) = turn::steady(service, F::hash(key), || segment.flow().client) else {
        return Choice::none(Verdict::DropNoBackend);
    };
    let now = clock::tick();
    match F::look(key) {
        Ok(found) => {
            let backend = BackendRef::get(found.entry.backend());
            if keeps(backend.state(), segment.opens(), found.entry, now) {
                kept::<I, F>(segment, F::slot(found), now, backend)
            } else {
                let chosen = handed(slot.backend(), again(segment));
                moved::<I, F>(segment, F::slot(found), now, chosen)
            }
        }
        Err(room) => unentered::<I, F>(slot, segment, key, room),
    }
    .any()
}

/// The backend of what isn't in the flow table, while its place changes hands.
#[inline(always)]
fn unentered<I: Ip, F: Flows<I>>(
    slot: wheel::Slot,
    segment: &impl Reading<I>,
    key: &F::Key,
    room: F::Room,
) -> Choice {
    let opens = segment.opens();
    let number = node::any(u64::from(slot.before())) as u16;
    let before = BackendRef::get(number);
    let is_moving = !slot.is_stable() && !slot.is_tracked();
    let gone = matches!(before.state(), BackendState::Down | BackendState::Free);
    let stays = is_moving && !opens && !gone;
    let mut number = if stays { slot.before() } else { slot.backend() };
    let mut verdict = match (opens, is_moving) {
        (true, _) => Verdict::ForwardNew,
        (false, false) => Verdict::ForwardStable,
        (false, true) if gone => Verdict::ForwardMoved,
        (false, true) => Verdict::ForwardAdopted,
    } as u32;
    if number != 0
        && is_moving
        && !enters::<I, F>(segment, key, room, node::any(u64::from(number)) as u16)
    {
        // Without an entry its other packets are taken for older ones, and go there.
        if !gone {
            number = slot.before();
        }
        verdict = Verdict::ForwardUntracked as u32;
    }
    let number = node::any(u64::from(number)) as u16;
    if number == 0 {
        return Choice::none(Verdict::DropNoBackend);
    }
    let backend = BackendRef::get(number);
    if verdict == Verdict::ForwardNew as u32 {
        watch::opened(segment, backend);
    }
    Choice {
        backend,
        verdict,
        place: 0,
    }
}

/// Enters a flow, unless it ends by this or there is no room.
#[inline(always)]
fn enters<I: Ip, F: Flows<I>>(
    segment: &impl Reading<I>,
    key: &F::Key,
    room: F::Room,
    number: u16,
) -> bool {
    let now = clock::tick();
    let ends = segment.is_tcp() && flow::tcp::closes(segment.flags());
    !ends
        && F::claim(key, room, now)
            .is_some_and(|place| F::enter(key, place, number, now, State::New))
}
