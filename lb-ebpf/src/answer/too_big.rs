//! "Packet too big": ICMP errors to senders of what the way doesn't take.

use lb_common::{abi::Family, checksum, verdict::Verdict};

use super::LIFETIME;
use crate::{
    frame::{self, Frame},
    ip::{Address, Ip, V4, V6},
    maps,
    outcome::Outcome,
    packet::{Context, Packet, growth},
    parse::{at, extension::ICMP as ICMPV6},
    rewrite::Carried,
};

/// Fragmentation needed: type 3, code 4 (RFC 792, RFC 1191 section 4).
const NEEDED: u16 = 0x0304u16.to_be();
/// Type 2, code 0 (RFC 4443 section 3.2).
const TOO_BIG: u16 = 0x0200u16.to_be();
const ICMPV4: u8 = 1;
/// Internetwork control (RFC 1812 section 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;
/// The least that an IPv6 link takes (RFC 8200 section 5).
const LEAST_MTU: u32 = 1_280;

/// What becomes of a packet of that length whose way takes no longer ones than `mtu`: its sender is
/// told so by the next step, unless it may not be.
#[inline(always)]
#[must_use]
pub fn refused<I: Ip>(length: usize, carried: Carried, mtu: u16) -> Outcome {
    // RFC 1812 section 4.3.2.7; RFC 4443 section 2.4 (e) makes no exception of fragments.
    if carried == Carried::Fragment && I::FAMILY == Family::V4 {
        return Outcome::here(Verdict::DropTooBig);
    }
    Outcome::too_big::<I>(length as u16, mtu)
}

/// Tells the sender of a packet, unless it may not be told.
#[inline(always)]
#[must_use]
pub fn answer<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let sender = I::ends(packet, &frame::parse(packet).any());
    if !sender.is_some_and(|(source, _)| source.is_one_host()) || !maps::may_tell() {
        return Outcome::here(Verdict::DropTooBig);
    }
    let (there, mtu) = step.told_lengths();
    if I::tell(context, u32::from(there), u32::from(mtu)) {
        Outcome::back(Verdict::AnswerTooBig)
    } else {
        Outcome::here(Verdict::DropNoHeadroom)
    }
}

/// [`Ip::tell`] of IPv4.
#[inline(always)]
pub fn tell4(context: Context, there: u32, mtu: u32) -> bool {
    step_tell4(context, there, mtu) != 0
}

#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_tell4(context: Context, there: u32, mtu: u32) -> u64 {
    u64::from(written4(context, there, mtu).is_some())
}

#[inline(always)]
fn written4(context: Context, there: u32, mtu: u32) -> Option<()> {
    const HEADERS: usize = at::IPV4 + at::UDP;
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet);
    let (source, destination) = V4::ends(packet, frame)?;
    let quote = match there {
        548.. => 548,
        128.. => 128,
        68.. => 68,
        _ => 28,
    };
    let packet = cut(packet, frame, quote, HEADERS)?;
    let all = packet.at::<HEADERS>(frame.ip)?;
    let version = u16::from_ne_bytes([0x45, PRECEDENCE]);
    let length = ((HEADERS + quote) as u16).to_be();
    let lifetime = u16::from_ne_bytes([LIFETIME, ICMPV4]);
    let words = u64::from(version)
        + u64::from(length)
        + u64::from(lifetime)
        + u64::from(source)
        + u64::from(destination);
    all.store::<u16, { at::ipv4::VERSION }>(version);
    all.store::<u16, { at::ipv4::LENGTH }>(length);
    all.store::<u32, { at::ipv4::ID }>(0);
    all.store::<u16, { at::ipv4::TTL }>(lifetime);
    all.store::<u16, { at::ipv4::CHECKSUM }>(!checksum::fold(words));
    all.store::<u32, { at::ipv4::SOURCE }>(destination);
    all.store::<u32, { at::ipv4::DESTINATION }>(source);
    let mtu = mtu.to_be();
    all.store::<u16, { at::IPV4 + at::icmp::TYPE }>(NEEDED);
    all.store::<u32, { at::IPV4 + at::icmp::WORD }>(mtu);
    let from = frame.ip + HEADERS;
    let sum = match quote {
        548 => sum::<36>(&packet, from + 512, sum::<512>(&packet, from, 0)?)?,
        128 => sum::<128>(&packet, from, 0)?,
        68 => sum::<68>(&packet, from, 0)?,
        _ => sum::<28>(&packet, from, 0)?,
    };
    let sum = u64::from(sum) + u64::from(NEEDED) + u64::from(mtu);
    all.store::<u16, { at::IPV4 + at::icmp::CHECKSUM }>(!checksum::fold(sum));
    Some(())
}

/// [`Ip::tell`] of IPv6.
#[inline(always)]
pub fn tell6(context: Context, there: u32, mtu: u32) -> bool {
    step_tell6(context, there, mtu) != 0
}

#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_tell6(context: Context, there: u32, mtu: u32) -> u64 {
    u64::from(written6(context, there, mtu).is_some())
}

#[inline(always)]
fn written6(context: Context, there: u32, mtu: u32) -> Option<()> {
    const HEADERS: usize = at::IPV6 + at::UDP;
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet);
    let (source, destination) = V6::ends(packet, frame)?;
    let quote = match there {
        1232.. => 1232,
        512.. => 512,
        128.. => 128,
        _ => 48,
    };
    let packet = cut(packet, frame, quote, HEADERS)?;
    let all = packet.at::<HEADERS>(frame.ip)?;
    let length = (at::UDP + quote) as u16;
    all.store::<u32, { at::ipv6::VERSION }>(0x6000_0000u32.to_be());
    all.store::<u16, { at::ipv6::LENGTH }>(length.to_be());
    let next = u16::from_ne_bytes([ICMPV6, LIFETIME]);
    all.store::<u16, { at::ipv6::NEXT }>(next);
    all.store::<u64, { at::ipv6::SOURCE }>(destination.high);
    all.store::<u64, { at::ipv6::SOURCE + 8 }>(destination.low);
    all.store::<u64, { at::ipv6::DESTINATION }>(source.high);
    all.store::<u64, { at::ipv6::DESTINATION + 8 }>(source.low);
    let mtu = mtu.max(LEAST_MTU).to_be();
    all.store::<u16, { at::IPV6 + at::icmp::TYPE }>(TOO_BIG);
    all.store::<u16, { at::IPV6 + at::icmp::CHECKSUM }>(0);
    all.store::<u32, { at::IPV6 + at::icmp::WORD }>(mtu);
    // Addresses, as the pseudo-header has them, and what the message has of its own.
    let own = all.sum::<{ at::ipv6::SOURCE }, { 32 + at::UDP }>(0);
    let from = frame.ip + HEADERS;
    let sum = match quote {
        1232 => {
            let sum = sum::<512>(&packet, from + 512, sum::<512>(&packet, from, own)?)?;
            self::sum::<208>(&packet, from + 1024, sum)?
        }
        512 => sum::<512>(&packet, from, own)?,
        128 => sum::<128>(&packet, from, own)?,
        _ => sum::<48>(&packet, from, own)?,
    };
    let pseudo = u32::from(ICMPV6) + u32::from(length);
    let sum = u64::from(sum) + u64::from(pseudo.to_be());
    all.store::<u16, { at::IPV6 + at::icmp::CHECKSUM }>(!checksum::fold(sum));
    Some(())
}

/// `COUNT` bytes from `at` on, added to `sum`.
#[inline(always)]
fn sum<const COUNT: usize>(packet: &Packet, at: usize, sum: u32) -> Option<u32> {
    Some(packet.at::<COUNT>(at)?.sum::<0, COUNT>(sum))
}

/// Leaves `quote` bytes of the IP packet in its frame, and makes room for `headers` bytes
/// before it; addressed to whom it came from, with its tags.
#[inline(always)]
fn cut(packet: &Packet, frame: &Frame, quote: usize, headers: usize) -> Option<Packet> {
    let packet = packet.with_tail(growth(packet.length(), frame.ip + quote))?;
    frame::back(&packet)?;
    let kind = packet.at::<2>(frame.ip - 2)?.load::<u16, 0>();
    frame::part(&packet, frame, growth(0, headers), kind)
}
