use lb_common::{checksum::Delta, verdict::Verdict};

use super::LIFETIME;
use crate::{
    frame::{self, Frame},
    ip::{Address, Ip, V4, V6},
    outcome::Outcome,
    packet::Packet,
    parse::{Segment, at},
    service::{self, Holding},
};

const REPLY_V6: u8 = 129;

/// Answers an echo request to a VIP (RFC 1122 section 3.2.2.6).
#[inline(always)]
#[must_use]
pub fn echo4(packet: &Packet, frame: &Frame, request: &Segment<V4>) -> Outcome {
    if let Some(refused) = refused::<V4>(request) {
        return Outcome::here(refused);
    }
    let (Some(header), Some(message)) = (
        packet.at::<{ at::IPV4 }>(frame.ip),
        packet.at::<{ at::UDP }>(request.l4),
    ) else {
        return Outcome::here(Verdict::DropInternal);
    };
    header.store::<u32, { at::ipv4::SOURCE }>(request.destination);
    header.store::<u32, { at::ipv4::DESTINATION }>(request.source);
    let old = header.load::<u16, { at::ipv4::TTL }>();
    let new = u16::from_ne_bytes([LIFETIME, (old >> 8) as u8]);
    header.store::<u16, { at::ipv4::TTL }>(new);
    let checksum = header.load::<u16, { at::ipv4::CHECKSUM }>();
    header.store::<u16, { at::ipv4::CHECKSUM }>(Delta::new().word(old, new).apply(checksum));
    let kind = message.load::<u16, { at::icmp::TYPE }>();
    message.store::<u16, { at::icmp::TYPE }>(0);
    let checksum = message.load::<u16, { at::icmp::CHECKSUM }>();
    let updated = Delta::new().word(kind, 0).apply_nonzero(checksum);
    message.store::<u16, { at::icmp::CHECKSUM }>(updated);
    answered(packet)
}

/// Answers an ICMPv6 echo request to a VIP (RFC 4443 section 4.2). Swapped addresses
/// leave the checksum as it is.
#[inline(always)]
#[must_use]
pub fn echo6(packet: &Packet, frame: &Frame, request: &Segment<V6>) -> Outcome {
    if let Some(refused) = refused::<V6>(request) {
        return Outcome::here(refused);
    }
    let (Some(header), Some(message)) = (
        packet.at::<{ at::IPV6 }>(frame.ip),
        packet.at::<{ at::UDP }>(request.l4),
    ) else {
        return Outcome::here(Verdict::DropInternal);
    };
    let (from, to) = (request.destination, request.source);
    header.store::<u64, { at::ipv6::SOURCE }>(from.high);
    header.store::<u64, { at::ipv6::SOURCE + 8 }>(from.low);
    header.store::<u64, { at::ipv6::DESTINATION }>(to.high);
    header.store::<u64, { at::ipv6::DESTINATION + 8 }>(to.low);
    header.store::<u8, { at::ipv6::HOP_LIMIT }>(LIFETIME);
    let old = message.load::<u16, { at::icmp::TYPE }>();
    let new = u16::from_ne_bytes([REPLY_V6, (old >> 8) as u8]);
    message.store::<u16, { at::icmp::TYPE }>(new);
    let checksum = message.load::<u16, { at::icmp::CHECKSUM }>();
    let updated = Delta::new().word(old, new).apply(checksum);
    message.store::<u16, { at::icmp::CHECKSUM }>(updated);
    answered(packet)
}

/// The verdict on a request that isn't answered.
#[inline(always)]
fn refused<I: Ip>(request: &Segment<I>) -> Option<Verdict> {
    match service::holding::<I>(request.destination) {
        Holding::NotVip => Some(Verdict::PassNotVip),
        Holding::NotHeld => Some(Verdict::DropNotHeld),
        Holding::Held if !request.source.is_one_host() => Some(Verdict::DropMalformed),
        Holding::Held if request.source == request.destination => Some(Verdict::DropMalformed),
        Holding::Held => None,
    }
}

#[inline(always)]
fn answered(packet: &Packet) -> Outcome {
    match frame::back(packet) {
        Some(()) => Outcome::back(Verdict::AnswerEcho),
        None => Outcome::here(Verdict::DropInternal),
    }
}
