//! What the load balancer answers itself: ARP and echo requests for its VIPs, while
//! it holds them.

use lb_common::{checksum::Delta, verdict::Verdict};

use crate::{
    node,
    packet::Window,
    parse::{ARP_LEN, UDP_LEN, at},
    pipeline::Outcome,
    service::{self, Holding},
};

const ETHERNET_IPV4: u32 = 0x0001_0800u32.to_be();
const LENGTHS_6_4: u16 = 0x0604u16.to_be();
const REQUEST: u16 = 1u16.to_be();
const REPLY: u16 = 2u16.to_be();
/// What answers start with (RFC 1700, "IP TIME TO LIVE PARAMETER").
const TTL: u16 = 64;

/// Answers an ARP request for a VIP (RFC 826).
#[inline(always)]
#[must_use]
pub fn arp(frame: Window<ARP_LEN>) -> Outcome {
    let sender = frame.load::<u32, { at::ARP_SENDER }>();
    let target = frame.load::<u32, { at::ARP_TARGET }>();
    if frame.load::<u32, { at::ARP_HARDWARE }>() != ETHERNET_IPV4
        || frame.load::<u16, { at::ARP_LENGTHS }>() != LENGTHS_6_4
        || frame.load::<u16, { at::ARP_OPERATION }>() != REQUEST
        // An announcement (RFC 5227 section 3), not a question.
        || sender == target
    {
        return Outcome::here(Verdict::PassArp);
    }
    match service::holding(target) {
        Holding::NotVip => return Outcome::here(Verdict::PassArp),
        Holding::NotHeld => return Outcome::here(Verdict::DropNotHeld),
        Holding::Held => {}
    }
    let mac = node::mac();
    back(frame);
    frame.store::<u16, { at::ARP_OPERATION }>(REPLY);
    // The target fields take what the sender fields held: 6 and 4 bytes.
    let asker = frame.load::<u64, { at::ARP_SENDER_MAC }>();
    frame.store::<u32, { at::ARP_TARGET_MAC }>(asker as u32);
    frame.store::<u16, { at::ARP_TARGET_MAC + 4 }>((asker >> 32) as u16);
    frame.store::<u32, { at::ARP_TARGET }>(sender);
    frame.store::<u32, { at::ARP_SENDER_MAC }>(mac as u32);
    frame.store::<u16, { at::ARP_SENDER_MAC + 4 }>((mac >> 32) as u16);
    frame.store::<u32, { at::ARP_SENDER }>(target);
    Outcome::back(Verdict::AnswerArp)
}

/// Answers an echo request to a VIP (RFC 1122 section 3.2.2.6).
#[inline(always)]
#[must_use]
pub fn echo(frame: Window<UDP_LEN>) -> Outcome {
    let source = frame.load::<u32, { at::IP_SOURCE }>();
    let destination = frame.load::<u32, { at::IP_DESTINATION }>();
    match service::holding(destination) {
        Holding::NotVip => return Outcome::here(Verdict::PassNotVip),
        Holding::NotHeld => return Outcome::here(Verdict::DropNotHeld),
        Holding::Held => {}
    }
    if !is_one_host(source) || source == destination {
        return Outcome::here(Verdict::DropMalformed);
    }
    back(frame);
    frame.store::<u32, { at::IP_SOURCE }>(destination);
    frame.store::<u32, { at::IP_DESTINATION }>(source);
    let old = frame.load::<u16, { at::IP_TTL }>();
    let new = (TTL << 8 | old.to_be() & 0xff).to_be();
    frame.store::<u16, { at::IP_TTL }>(new);
    let checksum = frame.load::<u16, { at::IP_CHECKSUM }>();
    frame.store::<u16, { at::IP_CHECKSUM }>(Delta::new().word(old, new).apply(checksum));
    let request = frame.load::<u16, { at::ICMP_TYPE }>();
    frame.store::<u16, { at::ICMP_TYPE }>(0);
    let checksum = frame.load::<u16, { at::ICMP_CHECKSUM }>();
    let updated = Delta::new().word(request, 0).apply_nonzero(checksum);
    frame.store::<u16, { at::ICMP_CHECKSUM }>(updated);
    Outcome::back(Verdict::AnswerEcho)
}

/// Whether an address can be one host's: not 0.0.0.0/8, not 127.0.0.0/8, and neither
/// multicast nor beyond it (RFC 1122 section 3.2.1.3). Nothing else is answered.
#[inline(always)]
fn is_one_host(address: u32) -> bool {
    let first = u32::from_be(address) >> 24;
    first != 0 && first != 127 && first < 224
}

/// Addresses the frame to whom it came from.
#[inline(always)]
fn back<const LEN: usize>(frame: Window<LEN>) {
    let mac = node::mac();
    let low = frame.load::<u32, { at::MAC_SOURCE }>();
    let high = frame.load::<u16, { at::MAC_SOURCE + 4 }>();
    frame.store::<u32, { at::MAC_DESTINATION }>(low);
    frame.store::<u16, { at::MAC_DESTINATION + 4 }>(high);
    frame.store::<u32, { at::MAC_SOURCE }>(mac as u32);
    frame.store::<u16, { at::MAC_SOURCE + 4 }>((mac >> 32) as u16);
}
