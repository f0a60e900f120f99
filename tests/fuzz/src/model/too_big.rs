//! Packets that are too big for their way: section 7.

use std::net::IpAddr;

use lb_common::verdict::Verdict;

use super::{
    Effect, Model, Outcome, Seen, Way,
    frames::{self, back, ipv4_header, ipv6_header},
    parse::{ICMP, ICMP6},
};
use crate::{
    bytes::put_word,
    sum::{add, pseudo, sum},
};

/// How many are told in one window.
const MOST: u32 = 1_000;

/// Whom we have told in the present window of 2³⁰ ns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    window: u64,
    count: u32,
    /// Answers whose window wasn't sure.
    unsure: u32,
}

impl Told {
    /// One more, somewhen between these moments.
    pub fn count(&mut self, (first, last): (u64, u64)) {
        let window = last >> 30;
        if window != self.window {
            *self = Told {
                window,
                ..Told::default()
            };
        }
        if first >> 30 == window {
            self.count += 1;
        } else {
            self.unsure += 1;
        }
    }

    /// Whether another one may be told, and whether it may not.
    fn may(&self, (first, last): (u64, u64)) -> (bool, bool) {
        let fresh = self.window != last >> 30;
        if fresh {
            // The old window may not have ended when the packet came.
            let still = first >> 30 == self.window && self.count + self.unsure >= MOST;
            return (true, still);
        }
        let (least, most) = (self.count, self.count + self.unsure);
        (least < MOST || first >> 30 != last >> 30, most >= MOST)
    }
}

/// Whether an address can be one host's (RFC 1122 section 3.2.1.3, RFC 4291 section 2).
#[must_use]
pub fn is_one_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !matches!(address.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(address) => {
            !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
        }
    }
}

impl Model {
    /// A packet that can't go on because the way takes only `mtu` bytes of it: what
    /// tunnel headers need is taken off already.
    pub(super) fn too_big(&self, seen: &Seen<'_>, mtu: usize) -> Vec<Outcome> {
        let Seen {
            frame, link, ip, ..
        } = *seen;

        let silent = ip.is_later() && !ip.is_v6()
            || !(ip.has_ports() || ip.is_later())
            || !is_one_host(ip.source);
        if silent {
            return vec![Outcome::drop(Verdict::DropTooBig)];
        }
        let packet = &frame[ip.at..ip.end()];
        let (body, ether_type) = report(packet, ip.destination, ip.source, mtu);
        let answer = frames::sent(
            Verdict::AnswerTooBig,
            Way::Transmit,
            back(link, ether_type, &body),
            &[],
        );
        self.limited(answer)
    }

    /// An answer that is given only so often.
    pub(super) fn limited(&self, mut answer: Outcome) -> Vec<Outcome> {
        answer.effects.push(Effect::Told);
        let (told, silent) = self.told.may(self.moment);
        let mut outcomes = Vec::new();
        if told {
            outcomes.push(answer);
        }
        if silent {
            outcomes.push(Outcome::drop(Verdict::DropTooBig));
        }
        outcomes
    }
}

/// The ICMP packet that says so, and its EtherType. `packet` is what there is of the
/// packet that was too big.
#[must_use]
pub fn report(packet: &[u8], source: IpAddr, destination: IpAddr, mtu: usize) -> (Vec<u8>, u16) {
    let quote = |sizes: [usize; 4]| {
        let size = sizes.into_iter().find(|&size| packet.len() >= size);
        &packet[..size.unwrap_or(packet.len())]
    };
    if source.is_ipv4() {
        let quote = quote([548, 128, 68, 28]);
        let mut message = vec![3, 4, 0, 0, 0, 0, 0, 0];
        put_word(&mut message, 6, mtu as u16);
        message.extend(quote);
        let checksum = !sum(&message);
        put_word(&mut message, 2, checksum);
        let length = 20 + message.len();
        let mut body = ipv4_header(0xc0, length, 0, ICMP, source, destination);
        body.extend(message);
        return (body, frames::IPV4);
    }
    let quote = quote([1_232, 512, 128, 48]);
    let mut message = vec![2, 0, 0, 0];
    message.extend((mtu.max(1_280) as u32).to_be_bytes());
    message.extend(quote);
    let start = pseudo(source, destination, ICMP6, message.len());
    let checksum = !add(start, sum(&message));
    put_word(&mut message, 2, checksum);
    let mut body = ipv6_header(0, 0, message.len(), ICMP6, 64, source, destination);
    body.extend(message);
    (body, frames::IPV6)
}
