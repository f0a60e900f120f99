use lb_common::verdict::Verdict;

use crate::{
    frame::{self, Frame},
    ip::V4,
    node,
    outcome::Outcome,
    packet::Packet,
    parse::at,
    service::{self, Holding},
};

const ETHERNET_IPV4: u32 = 0x0001_0800u32.to_be();
const LENGTHS_6_4: u16 = 0x0604u16.to_be();
const REQUEST: u16 = 1u16.to_be();
const REPLY: u16 = 2u16.to_be();

/// Answers an ARP request for a VIP (RFC 826).
#[inline(always)]
#[must_use]
pub fn arp(packet: &Packet, frame: &Frame) -> Outcome {
    let Some(body) = packet.at::<{ at::ARP }>(frame.ip) else {
        return Outcome::here(Verdict::PassMalformed);
    };
    let sender = body.load::<u32, { at::arp::SENDER }>();
    let target = body.load::<u32, { at::arp::TARGET }>();
    if body.load::<u32, { at::arp::HARDWARE }>() != ETHERNET_IPV4
        || body.load::<u16, { at::arp::LENGTHS }>() != LENGTHS_6_4
        || body.load::<u16, { at::arp::OPERATION }>() != REQUEST
        // An announcement (RFC 5227 section 3), not a question.
        || sender == target
    {
        return Outcome::here(Verdict::PassArp);
    }
    match service::holding::<V4>(target) {
        Holding::NotVip => return Outcome::here(Verdict::PassArp),
        Holding::NotHeld => return Outcome::here(Verdict::DropNotHeld),
        Holding::Held => {}
    }
    let mac = node::mac();
    // The target fields take what the sender fields held: 6 and 4 bytes.
    let asker = body.load::<u64, { at::arp::SENDER_MAC }>();
    if frame::back(packet).is_none() {
        return Outcome::here(Verdict::DropInternal);
    }
    body.store::<u16, { at::arp::OPERATION }>(REPLY);
    body.store::<u32, { at::arp::TARGET_MAC }>(asker as u32);
    body.store::<u16, { at::arp::TARGET_MAC + 4 }>((asker >> 32) as u16);
    body.store::<u32, { at::arp::TARGET }>(sender);
    body.store::<u32, { at::arp::SENDER_MAC }>(mac as u32);
    body.store::<u16, { at::arp::SENDER_MAC + 4 }>((mac >> 32) as u16);
    body.store::<u32, { at::arp::SENDER }>(target);
    Outcome::back(Verdict::AnswerArp)
}
