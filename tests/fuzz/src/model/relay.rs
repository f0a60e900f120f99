//! A router in a tunnel found a packet too big: the client is told. Section 8d of docs/PACKETS.md.

use lb_common::verdict::Verdict;

use super::{
    Key, Model, Outcome, Seen,
    errors::quote_at,
    frames,
    parse::Ip,
    too_big::{is_one_host, report},
};
use crate::{
    bytes::{address4, address6, long, word},
    site::{GUE_PORT, Mode, Standing, UDP},
};

/// The head of a tunnel's packet, quoted.
struct Outer {
    destination: std::net::IpAddr,
    inner: usize,
    is_gue: bool,
    inner_is_v6: bool,
}

impl Model {
    /// The outcomes of an error that may be about a tunnel; none if it isn't.
    pub(super) fn relayed(&self, seen: &Seen<'_>) -> Vec<Outcome> {
        let Seen {
            frame, link, ip, ..
        } = *seen;

        let Some(mtu) = reported(frame, ip) else {
            return Vec::new();
        };
        let Some(outer) = outer(frame, ip) else {
            return Vec::new();
        };
        let is_plain = if outer.inner_is_v6 {
            frame.get(outer.inner + 6).copied()
        } else {
            frame.get(outer.inner).copied()
        };
        let is_plain = match is_plain {
            Some(next) if outer.inner_is_v6 => matches!(next, 6 | 17),
            Some(first) => first == 0x45,
            None => false,
        };
        let inner = quote_at(frame, outer.inner, ip.end(), outer.inner_is_v6);
        let Some(inner) = inner.filter(|_| is_plain) else {
            return Vec::new();
        };
        let (vip, port) = inner.destination;
        let Some(service) = self.site.service(vip, port, inner.protocol) else {
            return Vec::new();
        };
        let key = Key {
            service,
            client: inner.source.0,
            client_port: inner.source.1,
            vip_port: port,
        };
        let mut outcomes = Vec::new();
        let backends = self.backends_of(key);
        let is_sure = backends.len() == 1;
        for number in backends {
            let Some(backend) = self.site.backend(number) else {
                continue;
            };
            let mode = match (outer.is_gue, ip.is_v6()) {
                (false, false) => Mode::Ip4,
                (false, true) => Mode::Ip6,
                (true, false) => Mode::Gue4,
                (true, true) => Mode::Gue6,
            };
            if backend.mode != mode || backend.address != outer.destination {
                continue;
            }
            let Some(hop) = self.site.route(key.client) else {
                continue;
            };
            if !is_one_host(key.client) {
                outcomes.push(Outcome::drop(Verdict::DropTooBig));
                continue;
            }
            let packet = &frame[outer.inner..ip.end()];
            // No IP packet is longer, whatever the router says.
            let mtu = mtu.saturating_sub(mode.overhead()).min(0xffff);
            let (body, ether_type) = report(packet, vip, key.client, mtu);
            let sent = frames::to_hop(link, hop, ether_type, &body);
            let way = frames::way(hop);
            let relay = frames::sent(Verdict::RelayTooBig, way, sent, &[]);
            outcomes.extend(self.limited(relay));
            // Its flows are about to move: whether the client is told is all the same. And
            // where the hash names another backend, it is about nothing of ours.
            if backend.standing == Standing::Down || !is_sure {
                outcomes.push(Outcome::pass(Verdict::PassNotVip, frame));
            }
        }
        outcomes
    }
}

/// The MTU that an error tells, if it is of that kind.
fn reported(frame: &[u8], ip: &Ip) -> Option<usize> {
    let at = ip.upper;
    if ip.is_v6() {
        return (frame[at] == 2).then(|| long(frame, at + 4) as usize);
    }
    let mtu = usize::from(word(frame, at + 6));
    (frame[at..at + 2] == [3, 4] && mtu != 0).then_some(mtu)
}

fn outer(frame: &[u8], ip: &Ip) -> Option<Outer> {
    let at = ip.upper + 8;
    let header = if ip.is_v6() { 40 } else { 20 };
    if at + header > ip.end() {
        return None;
    }
    let (protocol, source, destination) = if ip.is_v6() {
        if frame[at] >> 4 != 6 {
            return None;
        }
        let ends = (address6(frame, at + 8), address6(frame, at + 24));
        (frame[at + 6], ends.0, ends.1)
    } else {
        if frame[at] != 0x45 || word(frame, at + 6) & 0x1fff != 0 {
            return None;
        }
        let ends = (address4(frame, at + 12), address4(frame, at + 16));
        (frame[at + 9], ends.0, ends.1)
    };
    // It is about what the one whom it is sent to has sent.
    if source != ip.destination {
        return None;
    }
    let behind = at + header;
    let (inner, is_gue) = match protocol {
        4 | 41 => (behind, false),
        UDP if behind + 8 <= ip.end() && word(frame, behind + 2) == GUE_PORT => (behind + 8, true),
        _ => return None,
    };
    if inner >= ip.end() {
        return None;
    }
    let version = frame[inner] >> 4;
    let inner_is_v6 = match (protocol, version) {
        (4 | UDP, 4) => false,
        (41 | UDP, 6) => true,
        _ => return None,
    };
    Some(Outer {
        destination,
        inner,
        is_gue,
        inner_is_v6,
    })
}
