use lb_common::{checksum, verdict::Verdict};

use crate::{
    frame::{self, Frame},
    ip::{Address, Six, V6},
    node,
    outcome::Outcome,
    packet::{Packet, growth},
    parse::{at, extension::ICMP},
    service::{self, Holding},
};

/// Type 135, code 0 (RFC 4861 section 4.3).
const SOLICITATION: u16 = 0x8700u16.to_be();
/// Type 136, code 0 (RFC 4861 section 4.4).
const ADVERTISEMENT: u16 = 0x8800u16.to_be();
const SOLICITED: u32 = 0x4000_0000;
const OVERRIDE: u32 = 0x2000_0000;
/// Option 2, of 8 bytes: the target's link-layer address (RFC 4861 section 4.6.1).
const TARGET_OPTION: u16 = 0x0201u16.to_be();
/// Solicitations come from no further than the next link.
const NO_HOPS: u8 = 255;
/// A solicitation without options.
const LEAST: usize = 24;
/// An advertisement with its option.
const ADVERTISED: usize = 32;
/// ff02::1, all nodes.
const ALL_NODES: Six = Six {
    high: 0xff02_0000_0000_0000u64.to_be(),
    low: 1u64.to_be(),
};
/// 33:33:00:00:00:01 (RFC 2464 section 7).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// ff02::1:ff00:0, the bits that all solicited-node groups share (RFC 4291 section 2.7.1).
const GROUP: Six = Six {
    high: 0xff02_0000_0000_0000u64.to_be(),
    low: 0x0000_0001_ff00_0000u64.to_be(),
};
const GROUP_BITS: u64 = 0x00ff_ffffu64.to_be();

/// Answers a neighbour solicitation for a VIP (RFC 4861 section 7.2.4). `otherwise` is
/// the verdict on what isn't a valid one (section 7.1.1).
#[inline(always)]
#[must_use]
pub fn solicitation(packet: &Packet, frame: &Frame, otherwise: Verdict) -> Outcome {
    let Some(all) = packet.at::<{ at::IPV6 + LEAST }>(frame.ip) else {
        return Outcome::here(otherwise);
    };
    let payload = usize::from(u16::from_be(all.load::<u16, { at::ipv6::LENGTH }>()));
    let target = Six {
        high: all.load::<u64, { at::IPV6 + 8 }>(),
        low: all.load::<u64, { at::IPV6 + 16 }>(),
    };
    if all.load::<u8, { at::ipv6::VERSION }>() >> 4 != 6
        || all.load::<u8, { at::ipv6::NEXT }>() != ICMP
        || all.load::<u8, { at::ipv6::HOP_LIMIT }>() != NO_HOPS
        || all.load::<u16, { at::IPV6 + at::icmp::TYPE }>() != SOLICITATION
        || payload < LEAST
        || frame.ip + at::IPV6 + payload > packet.length()
        || target.high as u8 == 0xff
    {
        return Outcome::here(otherwise);
    }
    let source = Six {
        high: all.load::<u64, { at::ipv6::SOURCE }>(),
        low: all.load::<u64, { at::ipv6::SOURCE + 8 }>(),
    };
    let destination = Six {
        high: all.load::<u64, { at::ipv6::DESTINATION }>(),
        low: all.load::<u64, { at::ipv6::DESTINATION + 8 }>(),
    };
    let group = Six {
        high: GROUP.high,
        low: GROUP.low | target.low & GROUP_BITS,
    };
    // Whoever asks from nowhere looks whether the address is taken (RFC 4862 section 5.4).
    let probes = source == Six::NONE;
    if destination != group && (probes || destination != target) {
        return Outcome::here(Verdict::PassNeighbour);
    }
    match service::holding::<V6>(target) {
        Holding::NotVip => return Outcome::here(Verdict::PassNeighbour),
        Holding::NotHeld => return Outcome::here(Verdict::DropNotHeld),
        Holding::Held => {}
    }
    let to = if probes { ALL_NODES } else { source };
    let flags = if probes {
        OVERRIDE
    } else {
        SOLICITED | OVERRIDE
    };
    match advertise(packet, frame, target, to, flags) {
        Some(()) => Outcome::back(Verdict::AnswerSolicitation),
        None => Outcome::here(Verdict::DropNoHeadroom),
    }
}

/// Makes the frame an advertisement of `target`. `None` when it can't be made long enough.
#[inline(always)]
fn advertise(packet: &Packet, frame: &Frame, target: Six, to: Six, flags: u32) -> Option<()> {
    let length = frame.ip + at::IPV6 + ADVERTISED;
    let packet = packet.with_tail(growth(packet.length(), length))?;
    frame::back(&packet)?;
    if to == ALL_NODES {
        let head = packet.window::<6>()?;
        let [a, b, c, d, e, f] = ALL_NODES_MAC;
        head.store::<u32, 0>(u32::from_ne_bytes([a, b, c, d]));
        head.store::<u16, 4>(u16::from_ne_bytes([e, f]));
    }
    let all = packet.at::<{ at::IPV6 + ADVERTISED }>(frame.ip)?;
    let next = u16::from_ne_bytes([ICMP, NO_HOPS]);
    all.store::<u32, { at::ipv6::VERSION }>(0x6000_0000u32.to_be());
    all.store::<u16, { at::ipv6::LENGTH }>((ADVERTISED as u16).to_be());
    all.store::<u16, { at::ipv6::NEXT }>(next);
    all.store::<u64, { at::ipv6::SOURCE }>(target.high);
    all.store::<u64, { at::ipv6::SOURCE + 8 }>(target.low);
    all.store::<u64, { at::ipv6::DESTINATION }>(to.high);
    all.store::<u64, { at::ipv6::DESTINATION + 8 }>(to.low);
    let mac = node::mac();
    all.store::<u16, { at::IPV6 + at::icmp::TYPE }>(ADVERTISEMENT);
    all.store::<u16, { at::IPV6 + at::icmp::CHECKSUM }>(0);
    all.store::<u32, { at::IPV6 + 4 }>(flags.to_be());
    all.store::<u64, { at::IPV6 + 8 }>(target.high);
    all.store::<u64, { at::IPV6 + 16 }>(target.low);
    all.store::<u16, { at::IPV6 + 24 }>(TARGET_OPTION);
    all.store::<u16, { at::IPV6 + 26 }>(mac as u16);
    all.store::<u32, { at::IPV6 + 28 }>((mac >> 16) as u32);
    // Addresses, as the pseudo-header has them, and the message.
    let sum = all.sum::<{ at::ipv6::SOURCE }, { 32 + ADVERTISED }>(0);
    let pseudo = u32::from(ICMP) + ADVERTISED as u32;
    let sum = u64::from(sum) + u64::from(pseudo.to_be());
    all.store::<u16, { at::IPV6 + at::icmp::CHECKSUM }>(!checksum::fold(sum));
    Some(())
}
