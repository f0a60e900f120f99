//! What is asked of us: ARP, neighbour discovery, echo; and what is none of our
//! business.

use std::net::{IpAddr, Ipv6Addr};

use super::{Header, NEIGHBOUR, dice::Dice, header, with_link};
use crate::{
    bytes::{framed, octets, put_word},
    site::{OWN, Site},
};

/// ARP, requests for VIPs mostly.
pub fn arp(site: &Site, dice: &mut Dice) -> Vec<u8> {
    let mut target = dice.vip(site);
    while target.is_ipv6() {
        target = dice.vip(site);
    }
    if dice.one_in(6) {
        target = dice.client(false);
    }
    let sender = if dice.one_in(10) {
        target
    } else {
        dice.client(false)
    };
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1];
    if dice.one_in(6) {
        let at = dice.0.usize(0..8);
        body[at] = dice.0.u8(0..9);
    }
    body.extend(NEIGHBOUR);
    body.extend(octets(sender));
    body.extend([0; 6]);
    body.extend(octets(target));
    let to = if dice.one_in(4) { OWN } else { [0xff; 6] };
    framed(to, NEIGHBOUR, &dice.tags(), 0x0806, &body)
}

/// Neighbour solicitations, and the rest of neighbour discovery at times.
pub fn solicitation(site: &Site, dice: &mut Dice) -> Vec<u8> {
    let mut target = dice.vip(site);
    while target.is_ipv4() {
        target = dice.vip(site);
    }
    if dice.one_in(6) {
        target = dice.client(true);
    }
    let tail = octets(target);
    let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    group[13..].copy_from_slice(&tail[13..]);
    let unspecified = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let source = if dice.one_in(5) {
        unspecified
    } else {
        dice.client(true)
    };
    let destination = match dice.0.u32(0..8) {
        0 => dice.vip(site),
        1 | 2 => target,
        _ => IpAddr::from(group),
    };
    let destination = if destination.is_ipv4() {
        target
    } else {
        destination
    };
    let kind = if dice.one_in(10) {
        dice.0.u8(133..=137)
    } else {
        135
    };
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message[1] = u8::from(dice.one_in(20));
    message.extend(tail);
    if !dice.one_in(4) {
        message.extend([1, 1]);
        message.extend(NEIGHBOUR);
    }
    if dice.one_in(10) {
        message.truncate(dice.0.usize(4..24));
    }
    if dice.one_in(10) {
        message.resize(message.len() + dice.0.usize(0..40), 0);
    }
    let mut ip = Header::new(source, destination, 58);
    ip.ttl = if dice.one_in(16) { dice.ttl() } else { 255 };
    ip.class = dice.class();
    let mac = if dice.one_in(4) {
        OWN
    } else {
        [0x33, 0x33, 0xff, group[13], group[14], group[15]]
    };
    let (body, ether_type) = ip.with(&message);
    framed(mac, NEIGHBOUR, &dice.tags(), ether_type, &body)
}

/// Echo requests.
pub fn echo(site: &Site, dice: &mut Dice) -> Vec<u8> {
    let to = dice.vip(site);
    let from = match dice.0.u32(0..16) {
        0 => to,
        _ => dice.client(to.is_ipv6()),
    };
    let (protocol, kind) = if to.is_ipv6() { (58, 128) } else { (1, 8) };
    let mut message = vec![kind, 0, 0, 0, 0x47, 0x11, 0, 3];
    message[1] = u8::from(dice.one_in(20));
    if dice.one_in(20) {
        message[0] = dice.0.u8(..);
    }
    if dice.one_in(16) {
        // All zeros behind the type.
        message[4..].fill(0);
    } else {
        message.extend(dice.payload());
    }
    let mut ip = header(dice, Header::new(from, to, protocol));
    if !dice.one_in(10) {
        ip.piece = None;
    }
    with_link(dice, &ip.with(&message))
}

/// Other protocols and other destinations.
pub fn other(site: &Site, dice: &mut Dice) -> Vec<u8> {
    let is_v6 = dice.one_in(2);
    let to = match dice.0.u32(0..4) {
        0 => dice.client(is_v6),
        _ => dice.vip(site),
    };
    let from = dice.client(to.is_ipv6());
    let protocol = dice.one_of(&[6, 17, 1, 58, 2, 47, 50, 51, 59, 89, 112, 132, 135, 255]);
    let mut payload = dice.payload();
    if dice.one_in(3) {
        payload.resize(40, 0);
    }
    let ip = header(dice, Header::new(from, to, protocol));
    let mut body = ip.with(&payload);
    if dice.one_in(4) {
        body.1 = dice.one_of(&[0x88cc, 0x8863, 0x0800, 0x86dd, 0x0842, 0x9100, 0x8100]);
    }
    with_link(dice, &body)
}

/// Bytes that mean nothing, though they may begin as if they did.
pub fn noise(site: &Site, dice: &mut Dice) -> Vec<u8> {
    let length = dice.0.usize(14..200);
    let mut bytes = vec![0; length];
    dice.0.fill(&mut bytes);
    if dice.one_in(3) {
        return bytes;
    }
    bytes[..6].copy_from_slice(&OWN);
    let kind = dice.one_of(&[0x0800u16, 0x86dd, 0x0806, 0x8100]);
    put_word(&mut bytes, 12, kind);
    if dice.one_in(3) || bytes.len() < 70 {
        return bytes;
    }
    let to = octets(dice.vip(site));
    if kind == 0x0800 {
        bytes[14] = 0x45;
        put_word(&mut bytes, 16, (length - 14) as u16);
        bytes[30..34].copy_from_slice(&to[..4]);
        bytes[23] = dice.one_of(&[1, 6, 17]);
    } else if kind == 0x86dd && to.len() == 16 {
        bytes[14] = 0x60;
        put_word(&mut bytes, 18, (length - 54) as u16);
        bytes[20] = dice.one_of(&[0, 6, 17, 43, 44, 58, 60]);
        bytes[38..54].copy_from_slice(&to);
    }
    bytes
}
