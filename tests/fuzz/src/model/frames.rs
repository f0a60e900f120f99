//! How frames are changed: link layer, addresses and ports, checksums.

use std::net::IpAddr;

use super::{
    Outcome, Way,
    parse::{Ip, Link},
};
use crate::{
    bytes::{Mac, framed, octets, put_address, put_word, word},
    site::{Hop, OWN, TCP, UDP},
    sum::{sum, update, update_udp},
};

/// EtherTypes.
pub const IPV4: u16 = 0x0800;
/// IPv6's.
pub const IPV6: u16 = 0x86dd;

/// Back to whom it came from, tags as they came.
#[must_use]
pub fn back(link: &Link, ether_type: u16, body: &[u8]) -> Vec<u8> {
    framed(link.from, OWN, &link.tags, ether_type, body)
}

/// The answer to a solicitation goes to another MAC address when it is for everybody.
#[must_use]
pub fn back_to(to: Mac, link: &Link, ether_type: u16, body: &[u8]) -> Vec<u8> {
    framed(to, OWN, &link.tags, ether_type, body)
}

/// To a next hop, with its tags.
#[must_use]
pub fn to_hop(link: &Link, hop: &Hop, ether_type: u16, body: &[u8]) -> Vec<u8> {
    framed(hop.to, hop.from(), &tags(link, hop), ether_type, body)
}

/// The tags that a frame has on its way to a hop.
fn tags(link: &Link, hop: &Hop) -> Vec<(u16, u16)> {
    let id = |control: u16| control & 0x0fff;
    let has_them = link.tags.len() == hop.tags.len()
        && link
            .tags
            .iter()
            .zip(&hop.tags)
            .all(|(&(kind, control), &tag)| (kind, id(control)) == tag);
    let is_untagged = link.tags.iter().all(|&(_, control)| id(control) == 0);
    if has_them || (is_untagged && hop.tags.is_empty()) {
        return link.tags.clone();
    }
    let priority = link
        .tags
        .first()
        .map_or(0, |&(_, control)| control & 0xf000);
    hop.tags
        .iter()
        .enumerate()
        .map(|(place, &(kind, id))| (kind, if place == 0 { priority | id } else { id }))
        .collect()
}

/// By which way a frame leaves for a hop.
#[must_use]
pub fn way(hop: &Hop) -> Way {
    if hop.other {
        Way::Redirect
    } else {
        Way::Transmit
    }
}

/// One end of a packet: its new address, and its new port where that changes.
pub type End = (IpAddr, Option<u16>);

/// A packet whose ends are translated. `body` is a copy of the frame from the IP header
/// on; the result says where checksums are whose two zeros are one number.
pub fn translate(
    body: &mut [u8],
    ip: &Ip,
    source: Option<End>,
    destination: Option<End>,
    hops: u8,
    has_upper: bool,
) -> Vec<usize> {
    let before = body.to_vec();
    let upper = ip.upper - ip.at;
    let (source_at, destination_at, width) = if ip.is_v6() { (8, 24, 16) } else { (12, 16, 4) };
    body[if ip.is_v6() { 7 } else { 8 }] -= hops;
    for (end, address_at, port_at) in [
        (source, source_at, upper),
        (destination, destination_at, upper + 2),
    ] {
        let Some((address, port)) = end else { continue };
        put_address(body, address_at, address);
        if let (true, Some(port)) = (has_upper, port) {
            put_word(body, port_at, port);
        }
    }
    let mut zeros = Vec::new();
    if !ip.is_v6() {
        let checksum = update(
            word(&before, 10),
            &without(&before[..20]),
            &without(&body[..20]),
        );
        put_word(body, 10, checksum);
        zeros.push(10);
    }
    if has_upper {
        let words = |bytes: &[u8]| {
            let mut words = bytes[source_at..source_at + width].to_vec();
            words.extend(&bytes[destination_at..destination_at + width]);
            words.extend(&bytes[upper..upper + 4]);
            words
        };
        let (old, new) = (words(&before), words(body));
        match ip.protocol {
            TCP => {
                let at = upper + 16;
                put_word(body, at, update(word(&before, at), &old, &new));
                zeros.push(at);
            }
            UDP => {
                let at = upper + 6;
                put_word(body, at, update_udp(word(&before, at), &old, &new));
            }
            _ => {}
        }
    }
    zeros
}

/// An IPv4 header without its checksum.
fn without(header: &[u8]) -> Vec<u8> {
    let mut header = header.to_vec();
    put_word(&mut header, 10, 0);
    header
}

/// An IPv4 header without options, its checksum computed.
#[must_use]
pub fn ipv4_header(
    class: u8,
    length: usize,
    flags: u16,
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[0] = 0x45;
    header[1] = class;
    put_word(&mut header, 2, length as u16);
    put_word(&mut header, 6, flags);
    header[8] = 64;
    header[9] = protocol;
    put_address(&mut header, 12, source);
    put_address(&mut header, 16, destination);
    let checksum = !sum(&header);
    put_word(&mut header, 10, checksum);
    header
}

/// An IPv6 header.
#[must_use]
pub fn ipv6_header(
    class: u8,
    label: u32,
    payload: usize,
    next: u8,
    hop_limit: u8,
    source: IpAddr,
    destination: IpAddr,
) -> Vec<u8> {
    let first = 6 << 28 | u32::from(class) << 20 | label & 0xf_ffff;
    let mut header = first.to_be_bytes().to_vec();
    header.extend((payload as u16).to_be_bytes());
    header.extend([next, hop_limit]);
    header.extend(octets(source));
    header.extend(octets(destination));
    header
}

/// A frame that leaves.
#[must_use]
pub fn sent(
    verdict: lb_common::verdict::Verdict,
    way: Way,
    frame: Vec<u8>,
    zeros: &[usize],
) -> Outcome {
    // Positions count from the IP header, which the frame's own head says.
    let head = super::parse::link(&frame).map_or(0, |link| link.head);
    Outcome {
        verdict,
        way,
        zeros: zeros.iter().map(|at| head + at).collect(),
        frame: Some(frame),
        effects: Vec::new(),
    }
}
