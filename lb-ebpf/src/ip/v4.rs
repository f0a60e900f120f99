use lb_common::{
    abi::Family,
    checksum::{self, Delta},
};

use super::{Edit, Ip, New};
use crate::{
    answer::{self, too_big},
    frame::{self, Frame},
    icmp::{self, Quoted},
    outcome::Outcome,
    packet::{Context, Packet, Window},
    parse::{self, Parsed, Segment, at},
};

/// IPv4 (RFC 791).
#[derive(Clone, Copy)]
pub struct V4;

/// One hop, in the word of TTL and protocol as it lies in the packet.
const HOP: u16 = 0x0100u16.to_be();

/// Writes another address to byte `AT` of the header; `delta` and the difference that it makes.
#[inline(always)]
fn replace<const AT: usize>(header: Window<{ at::IPV4 }>, new: New<u32>, delta: Delta) -> Delta {
    let delta = if new.is_known {
        delta.known(new.difference)
    } else {
        delta.pair(header.load::<u32, AT>(), new.value)
    };
    header.store::<u32, AT>(new.value);
    delta
}

impl Ip for V4 {
    type Address = u32;
    type Head = parse::ipv4::Head;
    const FAMILY: Family = Family::V4;
    const HEADER: usize = at::IPV4;
    const TOO_BIG: u16 = 0x0304u16.to_be();
    const TOO_BIG_BITS: u16 = 0xffff;

    #[inline(always)]
    fn parse(packet: &Packet, frame: &Frame) -> Parsed<V4> {
        parse::ipv4::parse(packet, frame)
    }

    #[inline(always)]
    fn plain(packet: &Packet, least: Window<{ frame::LEAST }>) -> Option<(Self::Head, u32)> {
        parse::ipv4::plain(packet, least)
    }

    #[inline(always)]
    fn head(packet: &Packet) -> Option<Self::Head> {
        packet.window()
    }

    #[inline(always)]
    fn carries(packet: &Packet, frame: &Frame) -> Option<u8> {
        let header = packet.at::<{ at::IPV4 }>(frame.ip)?;
        let fragment = header.load::<u16, { at::ipv4::FRAGMENT }>();
        let is_later = fragment & 0x1fffu16.to_be() != 0;
        if header.load::<u8, { at::ipv4::VERSION }>() != 0x45 || is_later {
            return None;
        }
        Some(header.load::<u8, { at::ipv4::PROTOCOL }>())
    }

    #[inline(always)]
    fn length(packet: &Packet, frame: &Frame) -> Option<u16> {
        let header = packet.at::<{ at::IPV4 }>(frame.ip)?;
        Some(u16::from_be(header.load::<u16, { at::ipv4::LENGTH }>()))
    }

    #[inline(always)]
    fn ends(packet: &Packet, frame: &Frame) -> Option<(u32, u32)> {
        let header = packet.at::<{ at::IPV4 }>(frame.ip)?;
        Some((
            header.load::<u32, { at::ipv4::SOURCE }>(),
            header.load::<u32, { at::ipv4::DESTINATION }>(),
        ))
    }

    #[inline(always)]
    fn lifetime(packet: &Packet, frame: &Frame) -> Option<u8> {
        let header = packet.at::<{ at::IPV4 }>(frame.ip)?;
        Some(header.load::<u8, { at::ipv4::TTL }>())
    }

    #[inline(always)]
    fn hop(packet: &Packet, frame: &Frame, lifetime: u8) -> Option<()> {
        let header = packet.at::<{ at::IPV4 }>(frame.ip)?;
        header.store::<u8, { at::ipv4::TTL }>(lifetime.wrapping_sub(1));
        let checksum = header.load::<u16, { at::ipv4::CHECKSUM }>();
        header.store::<u16, { at::ipv4::CHECKSUM }>(checksum::after_less(checksum, HOP));
        Some(())
    }

    #[inline(always)]
    fn class(packet: &Packet, frame: &Frame) -> Option<u8> {
        let header = packet.at::<{ at::IPV4 }>(frame.ip)?;
        Some(header.load::<u8, { at::ipv4::TOS }>())
    }

    #[inline(always)]
    fn checksum(packet: &Packet, frame: &Frame) -> Option<u16> {
        let header = packet.at::<{ at::IPV4 }>(frame.ip)?;
        Some(header.load::<u16, { at::ipv4::CHECKSUM }>())
    }

    /// It covers no addresses (RFC 792).
    #[inline(always)]
    fn pseudo(_: Delta) -> Delta {
        Delta::new()
    }

    #[inline(always)]
    fn tell(context: Context, there: u32, mtu: u32) -> bool {
        too_big::tell4(context, there, mtu)
    }

    #[inline(always)]
    fn quoted(packet: &Packet, at: usize, end: usize) -> Option<Quoted> {
        icmp::quoted4(packet, at, end)
    }

    #[inline(always)]
    fn echo(packet: &Packet, frame: &Frame, request: &Segment<V4>) -> Outcome {
        answer::echo4(packet, frame, request)
    }

    #[inline(always)]
    fn edit(packet: &Packet, frame: &Frame, edit: &Edit<V4>) -> Option<Delta> {
        let header = packet.at::<{ at::IPV4 }>(frame.ip)?;
        let mut addresses = Delta::new();
        if edit.source.is_given {
            addresses = replace::<{ at::ipv4::SOURCE }>(header, edit.source, addresses);
        }
        if edit.destination.is_given {
            addresses = replace::<{ at::ipv4::DESTINATION }>(header, edit.destination, addresses);
        }
        let mut all = addresses;
        if edit.hop {
            let lifetime = header.load::<u16, { at::ipv4::TTL }>();
            header.store::<u16, { at::ipv4::TTL }>(lifetime.wrapping_sub(HOP));
            all = all.less(HOP);
        }
        let checksum = header.load::<u16, { at::ipv4::CHECKSUM }>();
        header.store::<u16, { at::ipv4::CHECKSUM }>(all.apply(checksum));
        Some(addresses)
    }
}
