//! The way of a packet, top to bottom.

use lb_common::{abi::Keeping, verdict::Verdict};

use crate::{
    answer, clock,
    flow::Flows,
    fragment,
    frame::{self, Carries, Frame},
    ip::{Ip, V4, V6},
    maps::EndpointRef,
    outcome::{Outcome, Step},
    packet::{Context, Packet},
    parse::{Kind, Segment},
    rewrite::{
        self, Carried, Way,
        nat::{self, Sides},
    },
    schedule::{self, Choice},
    service,
};

/// The way of a plain packet, as nearly all are: without tags, options and extensions, and
/// whole. Where its headers lie is known when this is compiled. Others take
/// [`Step::General`].
#[inline(always)]
#[must_use]
pub fn plain<I: Ip, F: Flows<I>>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    match I::plain(packet) {
        Some(segment) => transport::<I, F, true>(packet, &Frame::PLAIN, &segment),
        None => Outcome::next::<I>(Step::General),
    }
}

/// The way of any packet.
#[inline(always)]
#[must_use]
pub fn general<F: Flows<V4>>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    match frame.carries {
        Carries::Ipv4 => ip::<V4, F>(packet, frame),
        Carries::Ipv6 => Outcome::next::<V6>(Step::General),
        Carries::Ipv6ToGroup | Carries::Arp => Outcome::next::<V6>(Step::Question),
        Carries::Foreign => Outcome::here(frame.verdict),
    }
}

/// [`general`], of IPv6.
#[inline(always)]
#[must_use]
pub fn general6<F: Flows<V6>>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    ip::<V6, F>(packet, &frame::parse(packet).any())
}

/// Answers a question, if it is one for us.
#[inline(always)]
#[must_use]
pub fn question(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    match frame.carries {
        Carries::Arp => answer::arp(packet, frame),
        Carries::Ipv6ToGroup => answer::solicitation(packet, frame, Verdict::PassGroup),
        Carries::Ipv4 => {
            let parsed = V4::parse(packet, frame);
            V4::echo(packet, frame, &parsed.segment)
        }
        Carries::Ipv6 => {
            let parsed = V6::parse(packet, frame);
            match parsed.kind {
                Kind::Solicitation => answer::solicitation(packet, frame, Verdict::PassNeighbour),
                _ => V6::echo(packet, frame, &parsed.segment),
            }
        }
        Carries::Foreign => Outcome::here(Verdict::DropInternal),
    }
}

/// A later fragment follows its first.
#[inline(always)]
#[must_use]
pub fn fragment<I: Ip>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    let segment = &I::parse(packet, frame).segment;
    fragment::follow(packet, frame, segment)
}

/// The frame and segment of a packet, a `PLAIN` one or any, that a step before has found to
/// have one. So it is never `None`.
#[inline(always)]
#[must_use]
pub fn again<I: Ip, const PLAIN: bool>(packet: &Packet) -> Option<(Frame, Segment<I>)> {
    if PLAIN {
        let segment = I::plain(packet)?;
        return Some((Frame::PLAIN, segment));
    }
    let frame = frame::parse(packet).any();
    let segment = I::parse(packet, &frame).segment.any();
    Some((frame, segment))
}

/// Into the tunnel to the backend.
#[inline(always)]
#[must_use]
pub fn tunnel<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    let backend = step.backend();
    let way = Way::again(backend, step.told_number());
    if let Some(refused) = rewrite::tunnel::any::<I>(packet, frame, way) {
        return Outcome::here(refused);
    }
    Outcome::to_backend(step.small() as u32, backend)
}

#[inline(always)]
fn ip<I: Ip, F: Flows<I>>(packet: &Packet, frame: &Frame) -> Outcome {
    let parsed = I::parse(packet, frame);
    let segment = &parsed.segment;
    match parsed.kind {
        Kind::Segment => transport::<I, F, false>(packet, frame, &segment.any()),
        Kind::Fragment => Outcome::next::<I>(Step::Fragment),
        Kind::Error => Outcome::next::<I>(Step::Error).with(segment.l4),
        Kind::Echo | Kind::Solicitation => Outcome::next::<I>(Step::Question),
        Kind::Stray => Outcome::here(service::stray::<I>(segment.destination, parsed.verdict)),
        Kind::Foreign => Outcome::here(parsed.verdict),
    }
}

/// The way of a segment: of one in a `PLAIN` packet in one go.
#[inline(always)]
fn transport<I: Ip, F: Flows<I>, const PLAIN: bool>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
) -> Outcome {
    match service::of(segment) {
        (Some(service), _) if service.keeps(Keeping::Flows) => {
            to_backend::<I, F, PLAIN>(service, packet, frame, segment)
        }
        (Some(service), _) if service.keeps(Keeping::Changes) => {
            to_stable::<I, F, PLAIN>(service, packet, frame, segment)
        }
        (Some(_), _) => Outcome::next::<I>(if PLAIN { Step::PlainFull } else { Step::Full }),
        (None, Some(vip)) if vip.index() != 0 => Outcome::next::<I>(if PLAIN {
            Step::PlainFromFull
        } else {
            Step::FromFull
        }),
        (None, Some(_)) => Outcome::here(Verdict::DropClosedPort),
        (None, None) => from_server::<I, F>(packet, frame, segment),
    }
}

#[inline(always)]
fn to_backend<I: Ip, F: Flows<I>, const PLAIN: bool>(
    service: EndpointRef,
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
) -> Outcome {
    // Before the key is worked out: a call takes the registers that this needs.
    let now = clock::tick();
    let key = F::key(&segment.flow(), service);
    let (known, found) = if F::HAS_HOMES {
        (F::at_home(&key).map(|entry| (entry, 0)), None)
    } else {
        let found = F::find(&key);
        (found.map(|found| (found.entry, found.number)), found)
    };
    let choice = match schedule::settled(known, segment, now) {
        // The way of nearly every packet by itself: nothing is kept for others on it.
        Some(choice) if PLAIN && rewrite::direct(packet, segment, choice.backend) => {
            return Outcome::to_backend(choice.verdict, choice.backend);
        }
        Some(choice) => choice,
        None if F::HAS_HOMES => schedule::choose::<I, F>(service, segment, &key, now),
        None => schedule::chosen::<I, F>(service, segment, &key, now, found),
    };
    to_choice::<I, PLAIN>(packet, frame, segment, &choice, F::hash(&key))
}

/// To a backend that the flow's hash tells, while its place in the wheel isn't changing
/// hands.
#[inline(always)]
fn to_stable<I: Ip, F: Flows<I>, const PLAIN: bool>(
    service: EndpointRef,
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
) -> Outcome {
    let key = F::key(&segment.flow(), service);
    let hash = F::hash(&key);
    let slot = schedule::steady(service, segment, hash);
    let choice = match schedule::lasting(slot, segment) {
        // As above.
        Some(choice) if PLAIN && rewrite::direct(packet, segment, choice.backend) => {
            return Outcome::to_backend(choice.verdict, choice.backend);
        }
        Some(choice) => Some(choice),
        None => schedule::stable(slot, segment),
    };
    match choice {
        Some(choice) => to_choice::<I, PLAIN>(packet, frame, segment, &choice, hash),
        None => Outcome::next::<I>(Step::Changing),
    }
}

/// The same, while it does: the backend only, to which the next step sends it.
#[inline(always)]
#[must_use]
pub fn changing<I: Ip, F: Flows<I>>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    let segment = &I::parse(packet, frame).segment.any();
    let Some(service) = service::of(segment).0 else {
        return Outcome::here(Verdict::DropInternal);
    };
    let key = F::key(&segment.flow(), service);
    let choice = schedule::changing::<I, F>(service, segment, &key);
    to_choice::<I, false>(packet, frame, segment, &choice, F::hash(&key))
}

/// Sends a segment to the backend that has been chosen for it.
#[inline(always)]
#[must_use]
pub fn chosen<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    let segment = &I::parse(packet, frame).segment.any();
    let backend = step.backend();
    let way = Way::again(backend, step.told_number());
    forward::<I, false>(packet, frame, segment, way, step.small() as u32)
}

/// Sends a segment to the backend that was chosen, if there is one: in a `PLAIN` packet at
/// once, else in a step of its own, for the verifier follows each choice to its end.
#[inline(always)]
fn to_choice<I: Ip, const PLAIN: bool>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
    choice: &Choice,
    hash: u64,
) -> Outcome {
    if !choice.backend.is_some() {
        return Outcome::numbered(choice.verdict);
    }
    let way = Way {
        backend: choice.backend,
        hash,
        place: choice.place,
    };
    if !PLAIN {
        return Outcome::told_way::<I>(Step::Chosen, way, choice.verdict);
    }
    forward::<I, true>(packet, frame, segment, way, choice.verdict)
}

/// Sends a segment its way.
#[inline(always)]
fn forward<I: Ip, const PLAIN: bool>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
    way: Way,
    verdict: u32,
) -> Outcome {
    let carried = Carried::Segment;
    let refused = rewrite::forward::<I, PLAIN>(packet, frame, segment, carried, way, verdict);
    if segment.is_first && refused.is_none_or(Outcome::is_step) {
        fragment::forth(segment, way);
    }
    if let Some(refused) = refused {
        return refused;
    }
    Outcome::to_backend(verdict, way.backend)
}

/// To nobody of ours: the answer of a server in `nat`, or the node's own business.
#[inline(always)]
fn from_server<I: Ip, F: Flows<I>>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
) -> Outcome {
    let server = service::server::<I>(segment.source, segment.source_port, segment.protocol);
    let Some(server) = server else {
        return Outcome::here(Verdict::PassNotVip);
    };
    let sides = Sides {
        client: segment.destination,
        client_port: segment.destination_port,
        server_port: segment.source_port,
        protocol: segment.protocol,
    };
    let Some(origin) = nat::origin::<I, F>(&sides, server) else {
        return Outcome::here(Verdict::PassNotVip);
    };
    let outcome = nat::answer::<I, F>(packet, frame, segment, &origin);
    if segment.is_first && is_returned(outcome) {
        fragment::back(segment, origin.backend, 0);
    }
    outcome
}

/// Whether a server's answer goes to its client.
#[inline(always)]
#[must_use]
pub fn is_returned(outcome: Outcome) -> bool {
    outcome.is(Verdict::ReturnNat) || outcome.is(Verdict::ReturnKernel)
}
