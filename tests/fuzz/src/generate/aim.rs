//! UDP datagrams whose checksum comes to 0 when they are translated: one in 65,536 does
//! so by chance, and 0 means something else (RFC 768).

use super::{dice::Dice, ip_of};
use crate::{
    audit::repair,
    bytes::{octets, put_word, word},
    model::parse::Piece,
    site::{Mode, Site, UDP},
    sum::{add, update},
};

/// Changes the payload of a datagram so, if it is one that `nat` may translate.
pub fn at_zero(frame: &mut Vec<u8>, site: &Site, dice: &mut Dice) {
    let Some(ip) = ip_of(frame) else { return };
    let has_payload = ip.upper + 10 <= ip.end();
    if ip.protocol != UDP || ip.piece != Piece::Whole || !has_payload {
        return;
    }
    let ports = (ip.source_port(frame), ip.destination_port(frame));
    let nat = |number: u16| {
        site.backend(number)
            .filter(|backend| backend.mode == Mode::Nat)
    };
    let (before, after) = if let Some(service) = site.service(ip.destination, ports.1, UDP) {
        let wheel = &site.services[service].wheel;
        if wheel.is_empty() {
            return;
        }
        let Some(backend) = nat(dice.one_of(wheel)) else {
            return;
        };
        let port = if backend.port == 0 {
            ports.1
        } else {
            backend.port
        };
        ((ip.destination, ports.1), (backend.address, port))
    } else {
        let answers = |number: &u16| nat(*number).is_some_and(|b| b.address == ip.source);
        let Some(backend) = (1..site.backends.len() as u16).find(answers).and_then(nat) else {
            return;
        };
        let service = &site.services[backend.service];
        let port = if backend.port == 0 {
            ports.0
        } else {
            *service.ports.start()
        };
        ((ip.source, ports.0), (service.vip, port))
    };
    let words = |(address, port): (std::net::IpAddr, u16)| {
        [&octets(address)[..], &port.to_be_bytes()].concat()
    };
    // What has to be there for the translated checksum to be 0 is what 0 becomes on the
    // way back.
    let wanted = update(0, &words(after), &words(before));
    let is = word(frame, ip.upper + 6);
    let at = ip.upper + 8;
    let aimed = add(word(frame, at), add(is, !wanted));
    put_word(frame, at, aimed);
    repair(frame);
}
