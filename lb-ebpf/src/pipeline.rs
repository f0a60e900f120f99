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
    packet::{Context, Packet, Window, opaque},
    parse::{Kind, Plain, Reading, Segment},
    rewrite::{self, Carried, Way, nat},
    schedule::{self, Choice},
    service, turn,
};

/// The way of a plain packet, as nearly all are: without tags, options and extensions, and
/// whole. Where its headers lie is known when this is compiled. Others take
/// [`Step::General`].
#[inline(always)]
#[must_use]
pub fn plain<I: Ip, F: Flows<I>>(packet: &Packet, least: Window<{ frame::LEAST }>) -> Outcome {
    match Plain::<I>::of(packet, least) {
        Some(plain) => transport::<I, F, _>(packet, &Frame::PLAIN, &plain),
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
        let segment = Plain::<I>::known(packet)?.whole();
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
        return refused;
    }
    Outcome::to_backend(step.small() as u32, backend)
}

#[inline(always)]
fn ip<I: Ip, F: Flows<I>>(packet: &Packet, frame: &Frame) -> Outcome {
    let parsed = I::parse(packet, frame);
    let segment = &parsed.segment;
    match parsed.kind {
        Kind::Segment => transport::<I, F, _>(packet, frame, &segment.any()),
        Kind::Fragment => Outcome::next::<I>(Step::Fragment),
        Kind::Error => Outcome::next::<I>(Step::Error).with(segment.l4),
        Kind::Echo | Kind::Solicitation => Outcome::next::<I>(Step::Question),
        Kind::Stray => Outcome::here(service::stray::<I>(segment.destination, parsed.verdict)),
        Kind::Foreign => Outcome::here(parsed.verdict),
    }
}

/// The way of a segment: of one in a plain packet in one go.
#[inline(always)]
fn transport<I: Ip, F: Flows<I>, R: Reading<I>>(
    packet: &Packet,
    frame: &Frame,
    segment: &R,
) -> Outcome {
    match service::of(segment) {
        (Some(service), _) => {
            let keeping = service.keeping();
            if keeping(Keeping::Flows) {
                to_backend::<I, F, R>(service, packet, frame, segment)
            } else if keeping(Keeping::Changes) {
                to_stable::<I, F, R>(service, packet, frame, segment)
            } else {
                Some(if R::PLAIN {
                    Outcome::next::<I>(Step::PlainFull).with_number(service.slot())
                } else {
                    Outcome::next::<I>(Step::Full)
                })
            }
        }
        (None, Some(vip)) if vip.index() != 0 => Some(if R::PLAIN {
            Outcome::next::<I>(Step::PlainFromFull).with_number(vip.slot())
        } else {
            Outcome::next::<I>(Step::FromFull)
        }),
        (None, Some(_)) => Some(Outcome::here(Verdict::DropClosedPort)),
        (None, None) => from_server::<I, F, R>(packet, frame, segment),
    }
    .unwrap_or(Outcome::here(Verdict::DropInternal))
}

#[inline(always)]
fn to_backend<I: Ip, F: Flows<I>, R: Reading<I>>(
    service: EndpointRef,
    packet: &Packet,
    frame: &Frame,
    segment: &R,
) -> Option<Outcome> {
    // Before the flow is read: a call takes the registers that this needs.
    let now = clock::tick();
    let key = F::key_of(segment, service);
    let (known, found) = if F::HAS_HOMES {
        (F::at_home(&key).map(|entry| (entry, 0)), None)
    } else {
        let found = F::look(&key);
        let known = found.as_ref().ok();
        (known.map(|found| (found.entry, found.number)), Some(found))
    };
    let choice = match schedule::settled(known, now, || segment.flags()) {
        // The way of nearly every packet by itself: nothing is kept for others on it.
        Some(choice)
            if R::PLAIN
                && let Some(outcome) = at_once::<I>(packet, &choice, F::hash(&key)) =>
        {
            return Some(outcome);
        }
        Some(choice) if choice.keeps_flows() => choice,
        _ => match found {
            Some(found) => schedule::chosen::<I, F>(service, segment, &key, now, found),
            None => schedule::choose::<I, F>(service, segment, &key, clock::tick()),
        },
    };
    Some(to_choice(packet, frame, segment, &choice, F::hash(&key)))
}

/// To a backend that the flow's hash tells, while its place in the wheel isn't changing
/// hands.
#[inline(always)]
fn to_stable<I: Ip, F: Flows<I>, R: Reading<I>>(
    service: EndpointRef,
    packet: &Packet,
    frame: &Frame,
    segment: &R,
) -> Option<Outcome> {
    let key = F::key_of(segment, service);
    // Opaque, or it is worked out behind the next branch, and all that it is made of is kept on the
    // stack until then.
    let hash = opaque(F::hash(&key));
    let slot = turn::steady(service, hash, || segment.flow().client);
    let choice = match schedule::lasting(slot, || segment.opens()) {
        // As above.
        Some(choice)
            if R::PLAIN
                && let Some(outcome) = at_once::<I>(packet, &choice, hash) =>
        {
            return Some(outcome);
        }
        Some(choice) if choice.backend.is_some() => choice,
        _ => match schedule::stable(slot, segment) {
            Some(choice) => choice,
            None => return Some(Outcome::next::<I>(Step::Changing)),
        },
    };
    Some(to_choice(packet, frame, segment, &choice, hash))
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
    let key = F::key_of(segment, service);
    let choice = schedule::changing::<I, F>(service, segment, &key);
    to_choice(packet, frame, segment, &choice, F::hash(&key))
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
    forward(packet, frame, segment, way, step.small() as u32)
}

/// Sends a plain packet to the backend that was chosen, where hardly anything is to be asked.
#[inline(always)]
fn at_once<I: Ip>(packet: &Packet, choice: &Choice, hash: u64) -> Option<Outcome> {
    let way = Way {
        backend: choice.backend,
        hash,
        place: choice.place,
    };
    rewrite::at_once::<I>(packet, way, choice.verdict)
}

/// Sends a segment to the backend that was chosen, if there is one: in a `PLAIN` packet at
/// once, else in a step of its own, for the verifier follows each choice to its end.
#[inline(always)]
fn to_choice<I: Ip, R: Reading<I>>(
    packet: &Packet,
    frame: &Frame,
    segment: &R,
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
    if !R::PLAIN {
        return Outcome::told_way::<I>(Step::Chosen, way, choice.verdict);
    }
    forward(packet, frame, segment, way, choice.verdict)
}

/// Sends a segment its way.
#[inline(always)]
fn forward<I: Ip, R: Reading<I>>(
    packet: &Packet,
    frame: &Frame,
    segment: &R,
    way: Way,
    verdict: u32,
) -> Outcome {
    let refused = rewrite::forward(packet, frame, segment, Carried::Segment, way, verdict);
    // A plain packet is whole.
    if !R::PLAIN
        && refused.is_none_or(|outcome| outcome.takes::<I>(Step::Tunnel))
        && segment.whole().is_first
    {
        fragment::forth(&segment.whole(), way);
    }
    if let Some(refused) = refused {
        return refused;
    }
    Outcome::to_backend(verdict, way.backend)
}

/// Sends a server's answer, which its flow has counted, to the client.
#[inline(always)]
#[must_use]
pub fn answer<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let Some((frame, segment)) = &again::<I, false>(packet) else {
        return Outcome::here(Verdict::DropInternal);
    };
    let backend = step.backend();
    let outcome = nat::answer(packet, frame, segment, backend);
    if segment.is_first && is_returned(outcome) {
        fragment::back(segment, backend, 0);
    }
    outcome
}

/// To nobody of ours: the answer of a server in `nat`, or the node's own business.
#[inline(always)]
fn from_server<I: Ip, F: Flows<I>, R: Reading<I>>(
    packet: &Packet,
    frame: &Frame,
    segment: &R,
) -> Option<Outcome> {
    // Seen from the server, which is the flow's client then.
    let (flow, protocol) = (segment.flow(), segment.protocol());
    let server = service::server::<I>(flow.client, flow.client_port, protocol);
    let Some(server) = server else {
        return Some(Outcome::here(Verdict::PassNotVip));
    };
    // Before anything else: a call takes the registers that this needs.
    let now = clock::tick();
    // The flow is read where it is needed, so that nothing is kept for others on the way of nearly
    // every packet.
    let usual = if R::PLAIN {
        nat::settled::<I, F, R>(segment, server, now)
    } else {
        None
    };
    let backend = match usual {
        Some(backend) => backend,
        None => {
            let Some(origin) =
                nat::origin::<I, F>(&segment.flow_back(), segment.protocol(), server)
            else {
                return Some(Outcome::here(Verdict::PassNotVip));
            };
            nat::heard::<I, F>(&segment.whole(), &origin, clock::tick());
            origin.backend
        }
    };
    if !R::PLAIN {
        return Some(Outcome::next::<I>(Step::Answer).with_backend(backend));
    }
    Some(nat::answer(packet, frame, segment, backend))
}

/// Whether a server's answer goes to its client.
#[inline(always)]
#[must_use]
pub fn is_returned(outcome: Outcome) -> bool {
    !outcome.is_step() && (outcome.is(Verdict::ReturnNat) || outcome.is(Verdict::ReturnKernel))
}
