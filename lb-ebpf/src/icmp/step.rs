//! What an ICMP error is about, asked step by step.

use lb_common::verdict::Verdict;

use super::{Message, NO_PORT, relay};
use crate::{
    flow::Flows,
    frame::{self, Frame},
    ip::{Ip, V4, V6},
    outcome::{Outcome, Step},
    packet::{Context, Packet},
    rewrite::Way,
};

/// What `of` makes of the message that a step is told of, if it is there.
#[inline(always)]
fn message<I: Ip, T>(
    context: Context,
    step: Outcome,
    of: impl FnOnce(&Packet, &Frame, &Message<I>) -> Option<T>,
) -> Option<T> {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    of(
        packet,
        frame,
        &Message::<I>::at(packet, frame, step.small())?,
    )
}

/// An error to a VIP about what one of its backends has sent?
#[inline(always)]
#[must_use]
pub fn error<I: Ip, F: Flows<I>>(context: Context, step: Outcome) -> Outcome {
    match message(context, step, super::way_of::<I, F>) {
        Some(Some(way)) => Outcome::next::<I>(Step::ErrorToBackend)
            .with(step.small())
            .with_backend(way.backend)
            .with_number(way.number()),
        Some(None) => Outcome::here(Verdict::DropError),
        None => Outcome::next::<I>(Step::ErrorToPool).with(step.small()),
    }
}

/// To that backend.
#[inline(always)]
#[must_use]
pub fn to_backend<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let internal = Outcome::here(Verdict::DropInternal);
    let backend = step.backend();
    let way = Way::again(backend, step.told_number());
    message(context, step, |packet, frame, error: &Message<I>| {
        super::to_backend(packet, frame, error, way)
    })
    .unwrap_or(internal)
}

/// About what we have sent from a port of the pool?
#[inline(always)]
#[must_use]
pub fn to_pool<I: Ip>(context: Context, step: Outcome) -> Outcome {
    match message(context, step, super::port_of::<I>) {
        Some(NO_PORT) => Outcome::here(Verdict::DropError),
        Some(number) => Outcome::next::<I>(Step::ErrorFromPort)
            .with(step.small())
            .with_number(number),
        None => Outcome::next::<I>(Step::ErrorToClient).with(step.small()),
    }
}

/// To the client of that port's flow.
#[inline(always)]
#[must_use]
pub fn from_port<I: Ip>(context: Context, step: Outcome) -> Outcome {
    message(context, step, |packet, frame, error: &Message<I>| {
        super::from_port(packet, frame, error, step.told_number())
    })
    .unwrap_or(Outcome::here(Verdict::DropError))
}

/// To a client of `nat`, about what it has sent?
#[inline(always)]
#[must_use]
pub fn to_client<I: Ip, F: Flows<I>>(context: Context, step: Outcome) -> Outcome {
    match message(context, step, super::server_of::<I, F>) {
        Some(backend) => Outcome::next::<I>(Step::ErrorAbout)
            .with(step.small())
            .with_backend(backend),
        None => Outcome::next::<I>(Step::ErrorInTunnel).with(step.small()),
    }
}

/// To that client.
#[inline(always)]
#[must_use]
pub fn about<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let internal = Outcome::here(Verdict::DropInternal);
    let backend = step.backend();
    message(context, step, |packet, frame, error: &Message<I>| {
        super::to_client(packet, frame, error, backend)
    })
    .unwrap_or(internal)
}

/// About a packet of a tunnel?
#[inline(always)]
#[must_use]
pub fn in_tunnel<I: Ip, F: Flows<V4> + Flows<V6>>(context: Context, step: Outcome) -> Outcome {
    message(context, step, relay::outer::<I, F>).unwrap_or(Outcome::here(Verdict::PassNotVip))
}
