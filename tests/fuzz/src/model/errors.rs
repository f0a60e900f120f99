//! ICMP: echo, and errors about our flows (section 8).

use std::net::IpAddr;

use lb_common::verdict::Verdict;

use super::{
    Key, Model, Outcome, Seen, Way,
    frames::{self, translate},
    parse::{self, Ip, Piece},
};
use crate::{
    bytes::{address4, address6, octets, put_address, put_word, word},
    site::{Backend, Mode, Standing, TCP, UDP},
    sum::{update, update_udp},
};

/// The packet that an error quotes.
#[derive(Debug, Clone, Copy)]
pub struct Quote {
    /// Where it begins in the frame.
    pub at: usize,
    /// Where its ports are.
    pub upper: usize,
    /// Its protocol.
    pub protocol: u8,
    /// Its source.
    pub source: (IpAddr, u16),
    /// Its destination.
    pub destination: (IpAddr, u16),
}

/// An address and a port that replace those of a packet.
type Socket = (IpAddr, Option<u16>);

/// How an error is translated; what is `None` stays.
#[derive(Default)]
struct Translation {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    quoted_source: Option<Socket>,
    quoted_destination: Option<Socket>,
}

impl Model {
    /// An ICMP or ICMPv6 packet.
    pub(super) fn icmp(&self, seen: &Seen<'_>) -> Vec<Outcome> {
        let Seen { frame, ip, .. } = *seen;

        let (kind, code) = (frame[ip.upper], frame[ip.upper + 1]);
        let (echo_request, is_error) = if ip.is_v6() {
            (128, matches!(kind, 1..=4))
        } else {
            (8, matches!(kind, 3 | 11 | 12))
        };
        if (kind, code) == (echo_request, 0) {
            return self.echo(seen);
        }
        let is_vip = self.site.vip(ip.destination).is_some();
        if !is_error {
            return vec![if is_vip {
                Outcome::drop(Verdict::DropVipProtocol)
            } else {
                Outcome::pass(Verdict::PassNotVip, frame)
            }];
        }
        let quote = quote(frame, ip);
        if self.site.is_pool(ip.destination) {
            return self.error_to_pool(seen, quote);
        }
        if is_vip {
            return self.error_to_vip(seen, quote);
        }
        self.error_to_others(seen, quote)
    }

    /// Section 8a: about what a backend sent, or seemed to send, from the VIP.
    fn error_to_vip(&self, seen: &Seen<'_>, quote: Option<Quote>) -> Vec<Outcome> {
        let Seen { ip, .. } = *seen;

        let unknown = Outcome::drop(Verdict::DropError);
        let flow = quote
            .filter(|quote| quote.source.0 == ip.destination)
            .and_then(|quote| {
                let (vip, port) = quote.source;
                let key = Key {
                    service: self.site.service(vip, port, quote.protocol)?,
                    client: quote.destination.0,
                    client_port: quote.destination.1,
                    vip_port: port,
                };
                let maybe = self.backends_of(key);
                (!maybe.is_empty()).then_some((quote, key, maybe))
            });
        let Some((quote, key, maybe)) = flow else {
            return vec![unknown];
        };
        let mut outcomes = Vec::new();
        for number in maybe {
            let backend = self.site.backend(number);
            match backend.filter(|backend| backend.standing != Standing::Down) {
                None => outcomes.push(unknown.clone()),
                Some(backend) => {
                    outcomes.push(self.error_to(seen, backend, key, &quote));
                }
            }
        }
        outcomes
    }

    fn error_to(&self, seen: &Seen<'_>, backend: &Backend, key: Key, quote: &Quote) -> Outcome {
        let Seen {
            frame, link, ip, ..
        } = *seen;

        let verdict = Verdict::ForwardError;
        if backend.mode != Mode::Dsr && ip.ttl <= 1 {
            return Outcome::drop(Verdict::DropTtl);
        }
        if ip.length + backend.mode.overhead() > usize::from(backend.hop.mtu) {
            return Outcome::drop(Verdict::DropTooBig);
        }
        if backend.mode == Mode::Dsr {
            let sent = frames::to_hop(link, &backend.hop, link.ether_type, &frame[ip.at..]);
            return frames::sent(verdict, frames::way(&backend.hop), sent, &[]);
        }
        if backend.mode.is_tunnel() {
            return self.encapsulated(seen, backend, key, verdict);
        }
        let own = (backend.mode == Mode::FullNat).then(|| self.port_of.get(&key).copied());
        let translation = Translation {
            destination: Some(backend.address),
            quoted_source: Some((backend.address, (backend.port != 0).then_some(backend.port))),
            quoted_destination: own.flatten().map(|(address, port)| (address, Some(port))),
            ..Translation::default()
        };
        let (body, zeros) = translated(frame, ip, quote, &translation, 1);
        let sent = frames::to_hop(link, &backend.hop, link.ether_type, &body);
        frames::sent(verdict, frames::way(&backend.hop), sent, &zeros)
    }

    /// Section 8b: about what a `nat` client's packet became; 8d: about a tunnel.
    fn error_to_others(&self, seen: &Seen<'_>, quote: Option<Quote>) -> Vec<Outcome> {
        let Seen { frame, ip, .. } = *seen;

        let mut outcomes = Vec::new();
        if let Some(quote) = quote.filter(|quote| quote.source.0 == ip.destination) {
            let (server, port) = quote.destination;
            for backend in self.servers(server, port, quote.protocol) {
                let Some(vip_port) = super::backward::vip_port(self, backend, port) else {
                    continue;
                };
                let key = Key {
                    service: backend.service,
                    client: quote.source.0,
                    client_port: quote.source.1,
                    vip_port,
                };
                if self.stage_at(key, backend.number).is_none() {
                    continue;
                }
                let vip = self.site.services[key.service].vip;
                let translation = Translation {
                    source: Some(vip),
                    quoted_destination: Some((vip, Some(vip_port))),
                    ..Translation::default()
                };
                outcomes.extend(self.error_back(seen, key, &quote, &translation));
                if self.is_sure(key) {
                    return outcomes;
                }
            }
        }
        outcomes.extend(self.relayed(seen));
        if outcomes.iter().all(|o| o.verdict != Verdict::RelayTooBig) {
            outcomes.push(Outcome::pass(Verdict::PassNotVip, frame));
        }
        outcomes
    }

    /// Section 8c: about what a `full-nat` client's packet became.
    fn error_to_pool(&self, seen: &Seen<'_>, quote: Option<Quote>) -> Vec<Outcome> {
        let Seen { ip, .. } = *seen;

        let unknown = vec![Outcome::drop(Verdict::DropError)];
        let Some(quote) = quote.filter(|quote| quote.source.0 == ip.destination) else {
            return unknown;
        };
        let Some(&key) = self.ports.get(&quote.source) else {
            return unknown;
        };
        let service = &self.site.services[key.service];
        let is_there = self.flows.get(&key).is_some_and(|maybe| {
            maybe.iter().any(|&(number, _)| {
                self.site.backend(number).is_some_and(|backend| {
                    let port = match backend.port {
                        0 => key.vip_port,
                        port => port,
                    };
                    quote.destination == (backend.address, port)
                        && quote.protocol == service.protocol
                })
            })
        });
        if !is_there {
            return unknown;
        }
        let translation = Translation {
            source: Some(service.vip),
            destination: Some(key.client),
            quoted_source: Some((key.client, Some(key.client_port))),
            quoted_destination: Some((service.vip, Some(key.vip_port))),
        };
        self.error_back(seen, key, &quote, &translation)
    }

    fn error_back(
        &self,
        seen: &Seen<'_>,
        key: Key,
        quote: &Quote,
        translation: &Translation,
    ) -> Vec<Outcome> {
        let Seen {
            frame, link, ip, ..
        } = *seen;

        let Some(hop) = self.site.route(key.client) else {
            let (body, zeros) = translated(frame, ip, quote, translation, 0);
            let mut passed = frame[..ip.at].to_vec();
            passed.extend(body);
            let verdict = Verdict::ReturnKernel;
            return vec![frames::sent(verdict, Way::Pass, passed, &zeros)];
        };
        if ip.ttl <= 1 {
            return vec![Outcome::drop(Verdict::DropTtl)];
        }
        if ip.length > usize::from(hop.mtu) {
            return vec![Outcome::drop(Verdict::DropTooBig)];
        }
        let (body, zeros) = translated(frame, ip, quote, translation, 1);
        let sent = frames::to_hop(link, hop, link.ether_type, &body);
        let verdict = Verdict::ReturnError;
        vec![frames::sent(verdict, frames::way(hop), sent, &zeros)]
    }
}

/// What an error quotes, if that is enough of a TCP or UDP packet.
#[must_use]
pub fn quote(frame: &[u8], ip: &Ip) -> Option<Quote> {
    quote_at(frame, ip.upper + 8, ip.end(), ip.is_v6())
}

/// Likewise, of the packet between two offsets.
#[must_use]
pub fn quote_at(frame: &[u8], at: usize, end: usize, is_v6: bool) -> Option<Quote> {
    let least = if is_v6 { 40 } else { 20 };
    if at + least > end {
        return None;
    }
    let (protocol, upper, source, destination) = if is_v6 {
        if frame[at] >> 4 != 6 {
            return None;
        }
        let walk = parse::extensions(frame, at, end).ok()?;
        if let Piece::Later(_) = walk.piece {
            return None;
        }
        let addresses = (address6(frame, at + 8), address6(frame, at + 24));
        (walk.protocol, walk.upper, addresses.0, addresses.1)
    } else {
        let header = usize::from(frame[at] & 15) * 4;
        let is_later = word(frame, at + 6) & 0x1fff != 0;
        if frame[at] >> 4 != 4 || header < 20 || is_later {
            return None;
        }
        let addresses = (address4(frame, at + 12), address4(frame, at + 16));
        (frame[at + 9], at + header, addresses.0, addresses.1)
    };
    if !matches!(protocol, TCP | UDP) || upper + 8 > end {
        return None;
    }
    Some(Quote {
        at,
        upper,
        protocol,
        source: (source, word(frame, upper)),
        destination: (destination, word(frame, upper + 2)),
    })
}

/// The packet from its IP header on, translated, and where its checksums are whose two
/// zeros are one number.
fn translated(
    frame: &[u8],
    ip: &Ip,
    quote: &Quote,
    translation: &Translation,
    hops: u8,
) -> (Vec<u8>, Vec<usize>) {
    let mut body = frame[ip.at..].to_vec();
    let end = |address: Option<IpAddr>| address.map(|address| (address, None));
    let mut zeros = translate(
        &mut body,
        ip,
        end(translation.source),
        end(translation.destination),
        hops,
        false,
    );
    let (at, upper) = (quote.at - ip.at, quote.upper - ip.at);
    let before = body.clone();
    let (source_at, destination_at, width) = if ip.is_v6() { (8, 24, 16) } else { (12, 16, 4) };
    for (socket, address_at, port_at) in [
        (translation.quoted_source, source_at, upper),
        (translation.quoted_destination, destination_at, upper + 2),
    ] {
        let Some((address, port)) = socket else {
            continue;
        };
        put_address(&mut body, at + address_at, address);
        if let Some(port) = port {
            put_word(&mut body, port_at, port);
        }
    }
    let addresses = at + source_at..at + source_at + 2 * width;
    if !ip.is_v6() {
        let old = word(&before, at + 10);
        let new = update(old, &before[addresses.clone()], &body[addresses.clone()]);
        put_word(&mut body, at + 10, new);
        zeros.push(at + 10);
    }
    let changed = |bytes: &[u8]| {
        let mut words = bytes[addresses.clone()].to_vec();
        words.extend(&bytes[upper..upper + 4]);
        words
    };
    let (old, new) = (changed(&before), changed(&body));
    if quote.protocol == UDP {
        let checksum = update_udp(word(&before, upper + 6), &old, &new);
        put_word(&mut body, upper + 6, checksum);
    } else if upper + 18 <= ip.length {
        let checksum = update(word(&before, upper + 16), &old, &new);
        put_word(&mut body, upper + 16, checksum);
        zeros.push(upper + 16);
    }
    let message = ip.upper - ip.at;
    let all = |body: &[u8], source, destination| {
        let mut words = body[message..ip.length].to_vec();
        put_word(&mut words, 2, 0);
        if words.len() % 2 == 1 {
            words.push(0);
        }
        if ip.is_v6() {
            words.extend(octets(source));
            words.extend(octets(destination));
        }
        words
    };
    let old = all(&before, ip.source, ip.destination);
    let new = all(
        &body,
        translation.source.unwrap_or(ip.source),
        translation.destination.unwrap_or(ip.destination),
    );
    let checksum = update(word(&before, message + 2), &old, &new);
    put_word(&mut body, message + 2, checksum);
    zeros.push(message + 2);
    (body, zeros)
}
