//! Packets about packets that were sent: more of a flow, answers, later fragments,
//! ICMP errors.

use std::net::IpAddr;

use super::{Generator, Header, dice::Dice, dice_payload, header, ip_of, upper, with_link};
use crate::{
    bytes::put_word,
    model::parse::{Ip, Piece},
};

/// The header that goes the other way.
fn reversed(ip: &Ip) -> Header {
    Header::new(ip.destination, ip.source, ip.protocol)
}

impl Generator {
    /// More of a flow.
    pub(super) fn follow_up(&self, dice: &mut Dice) -> Option<Vec<u8>> {
        let came = &self.pick(dice)?.came;
        let ip = ip_of(came)?;
        let ports = (ip.source_port(came), ip.destination_port(came));
        let again = Header::new(ip.source, ip.destination, ip.protocol);
        let header = header(dice, again);
        let flags = dice.flags(ip.protocol);
        let body = upper(dice_payload(dice), header, ports, flags);
        Some(with_link(dice, &body))
    }

    /// The answer of whoever got a packet: it matters where that was translated.
    pub(super) fn answer(&self, dice: &mut Dice) -> Option<Vec<u8>> {
        let mut went = &self.pick(dice)?.went;
        // Tunnels' and direct servers' answers take another way.
        for _ in 0..4 {
            if ip_of(went).is_some_and(|ip| is_server(ip.destination)) {
                break;
            }
            went = &self.pick(dice)?.went;
        }
        let ip = ip_of(went).filter(Ip::has_ports)?;
        let mut ports = (ip.destination_port(went), ip.source_port(went));
        if dice.one_in(30) {
            ports.0 ^= 1 << dice.0.u32(0..16);
        }
        if dice.one_in(30) {
            ports.1 ^= 1 << dice.0.u32(0..16);
        }
        let header = header(dice, reversed(&ip));
        let flags = dice.flags(ip.protocol);
        let body = upper(dice_payload(dice), header, ports, flags);
        Some(with_link(dice, &body))
    }

    /// A later fragment of a packet whose first one was sent.
    pub(super) fn later(&self, dice: &mut Dice) -> Option<Vec<u8>> {
        if self.firsts.is_empty() {
            return None;
        }
        let first = &self.firsts[dice.0.usize(0..self.firsts.len())];
        let ip = ip_of(first)?;
        let Piece::First(id) = ip.piece else {
            return None;
        };
        let again = Header::new(ip.source, ip.destination, ip.protocol);
        let mut header = header(dice, again);
        header.id = if dice.one_in(12) { id ^ 1 } else { id };
        let offset = dice.0.u16(1..0x1fff);
        header.piece = Some((offset, dice.one_in(2)));
        let (payload, _) = dice_payload(dice);
        Some(with_link(dice, &header.with(&payload)))
    }

    /// An ICMP error: about what we sent, to whom it seems to come from; or about what
    /// the server sent from the VIP.
    pub(super) fn error(&self, dice: &mut Dice) -> Option<Vec<u8>> {
        let sent = self.pick(dice)?;
        let (quoted, to) = if dice.one_in(2) {
            let ip = ip_of(&sent.came).filter(Ip::has_ports)?;
            let ports = (ip.destination_port(&sent.came), ip.source_port(&sent.came));
            let mut header = header(dice, reversed(&ip));
            header.piece = None;
            let (quoted, _) = upper(dice_payload(dice), header, ports, 0x10);
            (quoted, ip.destination)
        } else {
            let head = crate::model::link(&sent.went)?.head;
            let quoted = sent.went[head..].to_vec();
            let to = if quoted[0] >> 4 == 4 {
                crate::bytes::address4(&quoted, 12)
            } else {
                crate::bytes::address6(&quoted, 8)
            };
            (quoted, to)
        };
        Some(error_about(dice, quoted, to))
    }

    fn pick(&self, dice: &mut Dice) -> Option<&super::Sent> {
        if self.sent.is_empty() {
            return None;
        }
        self.sent.get(dice.0.usize(0..self.sent.len()))
    }
}

/// An error to `to`, from somebody on the way, that quotes a packet or a part of it.
fn error_about(dice: &mut Dice, mut quoted: Vec<u8>, to: IpAddr) -> Vec<u8> {
    let length = match dice.0.u32(0..8) {
        0 => dice.0.usize(0..80),
        1 => quoted.len(),
        2 => 548,
        3 => 28,
        4 => 128 + dice.0.usize(0..64),
        _ => 300,
    };
    quoted.truncate(length);
    let router = dice.client(to.is_ipv6());
    let (protocol, kind, code) = if to.is_ipv6() {
        (58, dice.one_of(&[1, 2, 2, 2, 3, 4]), dice.0.u8(0..3))
    } else {
        let (kind, code) = dice.one_of(&[(3, 4), (3, 4), (3, 1), (3, 3), (11, 0), (12, 0), (4, 0)]);
        (1, kind, code)
    };
    let mtu = dice.one_of(&[0u16, 68, 576, 1_280, 1_400, 1_480, 1_500, 9_000]);
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    put_word(&mut message, 6, mtu);
    if dice.one_in(20) {
        dice.0.fill(&mut message[4..8]);
    }
    message.extend(quoted);
    let mut header = header(dice, Header::new(router, to, protocol));
    if !dice.one_in(20) {
        header.piece = None;
    }
    with_link(dice, &header.with(&message))
}

/// Whether an address is one of the site's servers.
fn is_server(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.octets()[0] == 0xfd,
    }
}
