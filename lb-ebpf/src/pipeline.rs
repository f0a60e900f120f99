//! The way of a packet, top to bottom.

use lb_common::verdict::Verdict;

use crate::{
    answer,
    flow::Flows,
    maps::{EndpointRef, HopWords},
    node,
    packet::Packet,
    parse::{self, Parsed, Segment},
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
    match parse::parse(packet) {
        Parsed::Segment(segment) => transport::<F>(&segment),
        Parsed::Arp(request) => answer::arp(request),
        Parsed::Echo(request) => answer::echo(request),
        Parsed::Stray(destination, verdict) => Outcome::here(service::stray(destination, verdict)),
        Parsed::Foreign(verdict) => Outcome::here(verdict),
    }
}

#[inline(always)]
fn transport<F: Flows>(segment: &Segment) -> Outcome {
    if let Some(service) = service::of(segment) {
        return to_backend::<F>(service, segment).unwrap_or_else(Outcome::here);
    }
    if let Some(server) = service::server(segment)
        && let Some(outcome) = nat::back::<F>(segment, server)
    {
        return outcome;
    }
    Outcome::here(service::stray(segment.destination, Verdict::DropClosedPort))
}

#[inline(always)]
fn to_backend<F: Flows>(service: EndpointRef, segment: &Segment) -> Result<Outcome, Verdict> {
    let choice = schedule::choose::<F>(service, segment)?;
    rewrite::forward(segment, choice.backend)?;
    choice
        .backend
        .count_in(segment.length, choice.verdict == Verdict::ForwardNew);
    Ok(Outcome::to(choice.verdict, choice.backend.hop()))
}
