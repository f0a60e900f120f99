//! What we answer ourselves: section 5.

use std::net::{IpAddr, Ipv6Addr};

use lb_common::verdict::Verdict;

use super::{
    Model, Outcome, Seen, Way,
    frames::{self, back, back_to, ipv6_header},
    is_group,
    parse::{self, ICMP6, Link},
    too_big::is_one_host,
};
use crate::{
    bytes::{address4, address6, put_address, put_word, word},
    site::OWN,
    sum::{add, nonzero, pseudo, sum, update},
};

const NEIGHBOUR_SOLICITATION: u8 = 135;

/// Whether the IPv6 packet at `at` is a neighbour solicitation, well formed or not.
#[must_use]
pub fn is_solicitation(frame: &[u8], at: usize) -> bool {
    frame.len() >= at + 48
        && frame[at] >> 4 == 6
        && frame[at + 6] == ICMP6
        && frame[at + 40] == NEIGHBOUR_SOLICITATION
}

impl Model {
    /// ARP (RFC 826).
    pub(super) fn arp(&self, frame: &[u8], link: &Link) -> Outcome {
        let at = link.head;
        if frame.len() < at + 28 {
            return Outcome::pass(Verdict::PassMalformed, frame);
        }
        let is_request = frame[at..at + 8] == [0, 1, 8, 0, 6, 4, 0, 1];
        let (sender, target) = (address4(frame, at + 14), address4(frame, at + 24));
        let vip = self.site.vip(target);
        let Some(vip) = vip.filter(|_| is_request && sender != target) else {
            return Outcome::pass(Verdict::PassArp, frame);
        };
        if !vip.held {
            return Outcome::drop(Verdict::DropNotHeld);
        }
        let mut body = frame[at..].to_vec();
        body[7] = 2;
        body[8..14].copy_from_slice(&OWN);
        put_address(&mut body, 14, target);
        body[18..24].copy_from_slice(&frame[at + 8..at + 14]);
        put_address(&mut body, 24, sender);
        let sent = back(link, link.ether_type, &body);
        frames::sent(Verdict::AnswerArp, Way::Transmit, sent, &[])
    }

    /// Neighbour solicitations (RFC 4861 sections 7.1.1 and 7.2.4).
    pub(super) fn solicitation(&self, frame: &[u8], link: &Link) -> Vec<Outcome> {
        let at = link.head;
        let pass = || Outcome::pass(Verdict::PassNeighbour, frame);
        let payload = usize::from(word(frame, at + 4));
        let malformed = frame[at + 7] != 255
            || frame[at + 41] != 0
            || payload < 24
            || at + 40 + payload > frame.len()
            || frame.len() < at + 64
            || frame[at + 48] == 0xff;
        if malformed {
            let mut outcomes = vec![pass()];
            // Whether it still is one is in the eye of the beholder.
            if is_group(link.to) {
                outcomes.push(Outcome::pass(Verdict::PassGroup, frame));
            } else if let Err(refused) = parse::ipv6(frame, at) {
                outcomes.push(self.refused(frame, &refused));
            }
            return outcomes;
        }
        let (source, destination) = (address6(frame, at + 8), address6(frame, at + 24));
        let target = address6(frame, at + 48);
        let everybody = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let is_asked_rightly =
            destination == solicited_node(target) || (destination == target && source != everybody);
        let Some(vip) = self.site.vip(target).filter(|_| is_asked_rightly) else {
            return vec![pass()];
        };
        if !vip.held {
            return vec![Outcome::drop(Verdict::DropNotHeld)];
        }
        let (asker, mac, flags) = if source == everybody {
            let all_nodes = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
            (all_nodes, [0x33, 0x33, 0, 0, 0, 1], 0x20)
        } else {
            (source, link.from, 0x60)
        };
        let mut message = vec![136, 0, 0, 0, flags, 0, 0, 0];
        message.extend(crate::bytes::octets(target));
        message.extend([2, 1]);
        message.extend(OWN);
        let start = pseudo(target, asker, ICMP6, message.len());
        let checksum = !add(start, sum(&message));
        put_word(&mut message, 2, checksum);
        let mut body = ipv6_header(0, 0, message.len(), ICMP6, 255, target, asker);
        body.extend(message);
        let sent = back_to(mac, link, frames::IPV6, &body);
        vec![frames::sent(
            Verdict::AnswerSolicitation,
            Way::Transmit,
            sent,
            &[],
        )]
    }

    /// Echo requests (RFC 1122 section 3.2.2.6, RFC 4443 section 4.1).
    pub(super) fn echo(&self, seen: &Seen<'_>) -> Vec<Outcome> {
        let Seen {
            frame, link, ip, ..
        } = *seen;

        let Some(vip) = self.site.vip(ip.destination) else {
            return vec![Outcome::pass(Verdict::PassNotVip, frame)];
        };
        if !ip.is_plain {
            return vec![Outcome::drop(Verdict::DropVipProtocol)];
        }
        let mut refusals = Vec::new();
        if !vip.held {
            refusals.push(Outcome::drop(Verdict::DropNotHeld));
        }
        if !is_one_host(ip.source) || ip.source == ip.destination {
            refusals.push(Outcome::drop(Verdict::DropMalformed));
        }
        if !refusals.is_empty() {
            return refusals;
        }
        let mut body = frame[ip.at..].to_vec();
        let reply = if ip.is_v6() { [129, 0] } else { [0, 0] };
        let upper = ip.upper - ip.at;
        let mut zeros = vec![upper + 2];
        if ip.is_v6() {
            body[7] = 64;
            put_address(&mut body, 8, ip.destination);
            put_address(&mut body, 24, ip.source);
        } else {
            body[8] = 64;
            put_address(&mut body, 12, ip.destination);
            put_address(&mut body, 16, ip.source);
            let old = &frame[ip.at + 8..ip.at + 10];
            let checksum = update(word(&body, 10), old, &body[8..10]);
            put_word(&mut body, 10, checksum);
            zeros.push(10);
        }
        let old = &frame[ip.upper..ip.upper + 2];
        // Under a message that is all zeros only all ones adds up.
        let checksum = nonzero(update(word(&body, upper + 2), old, &reply));
        body[upper..upper + 2].copy_from_slice(&reply);
        put_word(&mut body, upper + 2, checksum);
        let sent = back(link, link.ether_type, &body);
        vec![frames::sent(
            Verdict::AnswerEcho,
            Way::Transmit,
            sent,
            &zeros,
        )]
    }
}

/// The group that whoever has an address listens to (RFC 4291 section 2.7.1).
fn solicited_node(address: IpAddr) -> IpAddr {
    let octets = crate::bytes::octets(address);
    let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    group[13..].copy_from_slice(&octets[13..]);
    IpAddr::from(group)
}
