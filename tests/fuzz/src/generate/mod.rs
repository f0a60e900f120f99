//! Packets of every kind that docs/PACKETS.md names, and what becomes of them when bits
//! fall over.
//!
//! Whom a packet is for depends on what came before it: answers and errors are about
//! packets that were really sent.

mod aim;
mod build;
mod control;
mod dice;
mod mutate;
mod replies;

use std::collections::VecDeque;

use fastrand::Rng;
use lb_common::verdict::{Action, Verdict};

use self::{
    build::{Header, segment},
    dice::Dice,
};
use crate::{
    audit::repair,
    bytes::{Mac, framed},
    model::{
        Got,
        parse::{self, Ip, Piece},
    },
    site::{OWN, Site, UDP},
};

/// The longest frame that fits a page of the kernel's with what it needs around it.
const LONGEST: usize = 3_400;
/// How many packets are remembered to be followed by others.
const MEMORY: usize = 192;
/// Whom frames come from, mostly.
const NEIGHBOUR: Mac = [2, 0, 0, 0, 0xc, 9];

/// A frame that was sent on, as it came and as it went.
struct Sent {
    came: Vec<u8>,
    went: Vec<u8>,
}

/// Makes packets.
#[derive(Default)]
pub struct Generator {
    sent: VecDeque<Sent>,
    firsts: VecDeque<Vec<u8>>,
}

/// The IP packet of a frame.
fn ip_of(frame: &[u8]) -> Option<Ip> {
    let link = parse::link(frame)?;
    match link.ether_type {
        0x0800 => parse::ipv4(frame, link.head).ok(),
        0x86dd => parse::ipv6(frame, link.head).ok(),
        _ => None,
    }
}

fn remember<T>(memory: &mut VecDeque<T>, thing: T) {
    if memory.len() == MEMORY {
        memory.pop_front();
    }
    memory.push_back(thing);
}

impl Generator {
    /// What became of a packet.
    pub fn saw(&mut self, came: &[u8], got: &Got<'_>) {
        let is_forward = got.verdict.label().starts_with("forward_");
        let is_return = got.verdict == Verdict::ReturnKernel || got.verdict == Verdict::ReturnNat;
        let is_sent = got.verdict.action() == Action::Transmit || is_return;
        if !is_sent || !(is_forward || is_return) {
            return;
        }
        let Some(ip) = ip_of(came) else { return };
        if let Piece::First(_) = ip.piece {
            remember(&mut self.firsts, came.to_vec());
        }
        if is_forward && ip.has_ports() && !ip.is_later() {
            remember(
                &mut self.sent,
                Sent {
                    came: came.to_vec(),
                    went: got.frame.to_vec(),
                },
            );
        }
    }

    /// The next packet.
    pub fn next(&mut self, site: &Site, seed: u64) -> Vec<u8> {
        let mut dice = Dice(Rng::with_seed(seed));
        let mut packet = self.fresh(site, &mut dice);
        packet.truncate(LONGEST);
        if !dice.one_in(40) {
            repair(&mut packet);
        }
        if dice.one_in(8) {
            aim::at_zero(&mut packet, site, &mut dice);
        }
        if dice.one_in(5) {
            mutate::mutate(&mut packet, &mut dice);
            if !dice.one_in(3) {
                repair(&mut packet);
            }
        }
        if dice.one_in(6) {
            // What the link adds behind a short packet.
            packet.resize((packet.len() + dice.0.usize(0..24)).min(LONGEST), 0x5a);
        }
        packet
    }

    fn fresh(&mut self, site: &Site, dice: &mut Dice) -> Vec<u8> {
        match dice.0.u32(0..100) {
            0..26 => from_client(site, dice),
            26..45 => self
                .follow_up(dice)
                .unwrap_or_else(|| from_client(site, dice)),
            45..59 => self.answer(dice).unwrap_or_else(|| from_client(site, dice)),
            59..66 => self.later(dice).unwrap_or_else(|| from_client(site, dice)),
            66..82 => self.error(dice).unwrap_or_else(|| from_client(site, dice)),
            82..86 => control::arp(site, dice),
            86..90 => control::solicitation(site, dice),
            90..94 => control::echo(site, dice),
            94..97 => control::other(site, dice),
            _ => control::noise(site, dice),
        }
    }
}

/// A segment of a client's, to a service mostly.
fn from_client(site: &Site, dice: &mut Dice) -> Vec<u8> {
    let service = &site.services[dice.0.usize(0..site.services.len())];
    let client = dice.client(service.vip.is_ipv6());
    let mut port = dice.0.u16(service.ports.clone());
    // A few of a range's ports only, so that flows come again.
    if service.ports.len() > 4 && !dice.one_in(8) {
        port = service.ports.start() + port % 4;
    }
    if dice.one_in(60) {
        port = dice.0.u16(..);
    }
    let mut header = header(dice, Header::new(client, service.vip, service.protocol));
    if dice.one_in(40) {
        header.destination = dice.vip(site);
        if header.destination.is_ipv4() != header.source.is_ipv4() {
            header.source = dice.client(header.destination.is_ipv6());
        }
    }
    let flags = dice.flags(header.protocol);
    let ports = (dice.client_port(), port);
    let body = upper(dice_payload(dice), header, ports, flags);
    with_link(dice, &body)
}

fn dice_payload(dice: &mut Dice) -> (Vec<u8>, bool) {
    (dice.payload(), !dice.one_in(8))
}

/// A segment in its packet. UDP without a checksum has 0.
fn upper(
    (payload, has_checksum): (Vec<u8>, bool),
    header: Header,
    ports: (u16, u16),
    flags: u8,
) -> (Vec<u8>, u16) {
    let mut upper = segment(header.protocol, ports, flags, &payload);
    if header.protocol == UDP && !has_checksum {
        upper[6..8].fill(0);
    }
    header.with(&upper)
}

/// The header with what varies.
fn header(dice: &mut Dice, mut header: Header) -> Header {
    header.ttl = dice.ttl();
    header.class = dice.class();
    header.id = dice.0.u32(..);
    if header.source.is_ipv4() {
        header.options = dice.options();
    } else {
        header.extensions = dice.extensions();
    }
    if dice.one_in(14) {
        header.piece = Some((0, true));
    }
    header
}

/// In a frame to us.
fn with_link(dice: &mut Dice, (body, ether_type): &(Vec<u8>, u16)) -> Vec<u8> {
    let tags = dice.tags();
    let to = match dice.0.u32(0..80) {
        0 => [0xff; 6],
        1 => [0x33, 0x33, 0, 0, 0, 1],
        2 => [2, 0, 0, 0, 0, 77],
        _ => OWN,
    };
    framed(to, NEIGHBOUR, &tags, *ether_type, body)
}
