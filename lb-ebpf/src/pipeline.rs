//! The way of a packet, top to bottom.

use lb_common::verdict::Verdict;

use crate::{
    answer,
    flow::Flows,
    maps::{EndpointRef, HopWords},
    node,
    packet::Packet,
    parse::{self, Kind, Segment},
    rewrite::{self, nat},
    schedule, service,
};

/// What became of a packet, and where it leaves if it is sent.
pub struct Outcome {
    /// What became of it.
    pub verdict: Verdict,
    /// The interface that it leaves by.
    pub ifindex: u32,
    /// That interface's place in the device map.
    pub egress: u32,
}

impl Outcome {
    /// It isn't sent.
    #[inline(always)]
    #[must_use]
    pub fn here(verdict: Verdict) -> Self {
        Outcome {
            verdict,
            ifindex: 0,
            egress: 0,
        }
    }

    /// It leaves by the interface that it came by.
    #[inline(always)]
    #[must_use]
    pub fn back(verdict: Verdict) -> Self {
        Outcome {
            verdict,
            ifindex: node::ifindex(),
            egress: 0,
        }
    }

    /// It leaves for a next hop.
    #[inline(always)]
    #[must_use]
    pub fn to(verdict: Verdict, hop: HopWords) -> Self {
        Outcome {
            verdict,
            ifindex: hop.ifindex(),
            egress: hop.egress(),
        }
    }
}

/// The whole way of a packet, with flows remembered in `F`.
#[inline(always)]
#[must_use]
pub fn run<F: Flows>(packet: &Packet) -> Outcome {
    let parsed = parse::parse(packet);
    match parsed.kind {
        Kind::Segment => transport::<F>(packet, &parsed.segment),
        Kind::Arp => packet.window().map_or(TOO_SHORT, answer::arp),
        Kind::Echo => packet.window().map_or(TOO_SHORT, answer::echo),
        Kind::Stray => Outcome::here(service::stray(parsed.segment.destination, parsed.verdict)),
        Kind::Foreign => Outcome::here(parsed.verdict),
    }
}

/// For what is too short to say whom it is for.
const TOO_SHORT: Outcome = Outcome {
    verdict: Verdict::PassMalformed,
    ifindex: 0,
    egress: 0,
};

#[inline(always)]
fn transport<F: Flows>(packet: &Packet, segment: &Segment) -> Outcome {
    if let Some(service) = service::of(segment) {
        return to_backend::<F>(service, packet, segment);
    }
    if let Some(server) = service::server(segment)
        && let Some(origin) = nat::origin::<F>(segment, server)
    {
        return nat::back(packet, segment, origin);
    }
    Outcome::here(service::stray(segment.destination, Verdict::DropClosedPort))
}

#[inline(always)]
fn to_backend<F: Flows>(service: EndpointRef, packet: &Packet, segment: &Segment) -> Outcome {
    let choice = schedule::choose::<F>(service, segment);
    let Some(backend) = choice.backend else {
        return Outcome::here(choice.verdict);
    };
    if let Some(refused) = rewrite::forward(packet, segment, backend) {
        return Outcome::here(refused);
    }
    backend.count_in(segment.length, choice.verdict == Verdict::ForwardNew);
    Outcome::to(choice.verdict, backend.hop())
}
