use lb_common::{abi::Family, checksum::Delta};

use super::{Edit, Ip, New, Six};
use crate::{
    answer::{self, too_big},
    frame::{self, Frame},
    icmp::{self, Quoted},
    outcome::Outcome,
    packet::{Context, Packet, Window},
    parse::{self, Parsed, Segment, at},
};

/// IPv6 (RFC 8200).
#[derive(Clone, Copy)]
pub struct V6;

/// Writes another address to byte `AT` of the header; `delta` and the difference that it makes.
#[inline(always)]
fn replace<const AT: usize>(header: Window<{ at::IPV6 }>, new: New<Six>, delta: Delta) -> Delta {
    if new.is_known {
        new.value.store::<{ at::IPV6 }, AT>(header);
        delta.known(new.difference)
    } else {
        new.value.replace::<{ at::IPV6 }, AT>(header, delta)
    }
}

impl Ip for V6 {
    type Address = Six;
    type Head = parse::ipv6::Head;
    const FAMILY: Family = Family::V6;
    const HEADER: usize = at::IPV6;
    const TOO_BIG: u16 = 0x0200u16.to_be();
    /// The code is ignored (RFC 4443 section 3.2).
    const TOO_BIG_BITS: u16 = 0xff00u16.to_be();

    #[inline(always)]
    fn parse(packet: &Packet, frame: &Frame) -> Parsed<V6> {
        parse::ipv6::parse(packet, frame)
    }

    #[inline(always)]
    fn plain(packet: &Packet, least: Window<{ frame::LEAST }>) -> Option<(Self::Head, u32)> {
        parse::ipv6::plain(packet, least)
    }

    #[inline(always)]
    fn head(packet: &Packet) -> Option<Self::Head> {
        packet.window()
    }

    #[inline(always)]
    fn carries(packet: &Packet, frame: &Frame) -> Option<u8> {
        let header = packet.at::<{ at::IPV6 }>(frame.ip)?;
        if header.load::<u8, { at::ipv6::VERSION }>() >> 4 != 6 {
            return None;
        }
        Some(header.load::<u8, { at::ipv6::NEXT }>())
    }

    #[inline(always)]
    fn length(packet: &Packet, frame: &Frame) -> Option<u16> {
        let header = packet.at::<{ at::IPV6 }>(frame.ip)?;
        let payload = u16::from_be(header.load::<u16, { at::ipv6::LENGTH }>());
        Some(payload.wrapping_add(at::IPV6 as u16))
    }

    #[inline(always)]
    fn ends(packet: &Packet, frame: &Frame) -> Option<(Six, Six)> {
        let header = packet.at::<{ at::IPV6 }>(frame.ip)?;
        let source = Six::load::<{ at::IPV6 }, { at::ipv6::SOURCE }>(header);
        let destination = Six::load::<{ at::IPV6 }, { at::ipv6::DESTINATION }>(header);
        Some((source, destination))
    }

    #[inline(always)]
    fn lifetime(packet: &Packet, frame: &Frame) -> Option<u8> {
        let header = packet.at::<{ at::IPV6 }>(frame.ip)?;
        Some(header.load::<u8, { at::ipv6::HOP_LIMIT }>())
    }

    #[inline(always)]
    fn hop(packet: &Packet, frame: &Frame, lifetime: u8) -> Option<()> {
        let header = packet.at::<{ at::IPV6 }>(frame.ip)?;
        header.store::<u8, { at::ipv6::HOP_LIMIT }>(lifetime.wrapping_sub(1));
        Some(())
    }

    #[inline(always)]
    fn class(packet: &Packet, frame: &Frame) -> Option<u8> {
        let header = packet.at::<{ at::IPV6 }>(frame.ip)?;
        let version = u16::from_be(header.load::<u16, { at::ipv6::VERSION }>());
        Some((version >> 4) as u8)
    }

    #[inline(always)]
    fn checksum(_: &Packet, _: &Frame) -> Option<u16> {
        Some(0)
    }

    /// It covers the pseudo-header (RFC 4443 section 2.3).
    #[inline(always)]
    fn pseudo(addresses: Delta) -> Delta {
        addresses
    }

    #[inline(always)]
    fn tell(context: Context, there: u32, mtu: u32) -> bool {
        too_big::tell6(context, there, mtu)
    }

    #[inline(always)]
    fn quoted(packet: &Packet, at: usize, end: usize) -> Option<Quoted> {
        icmp::quoted6(packet, at, end)
    }

    #[inline(always)]
    fn echo(packet: &Packet, frame: &Frame, request: &Segment<V6>) -> Outcome {
        answer::echo6(packet, frame, request)
    }

    #[inline(always)]
    fn edit(packet: &Packet, frame: &Frame, edit: &Edit<V6>) -> Option<Delta> {
        let header = packet.at::<{ at::IPV6 }>(frame.ip)?;
        let mut addresses = Delta::new();
        if edit.hop {
            let limit = header.load::<u8, { at::ipv6::HOP_LIMIT }>();
            header.store::<u8, { at::ipv6::HOP_LIMIT }>(limit.wrapping_sub(1));
        }
        if edit.source.is_given {
            addresses = replace::<{ at::ipv6::SOURCE }>(header, edit.source, addresses);
        }
        if edit.destination.is_given {
            addresses = replace::<{ at::ipv6::DESTINATION }>(header, edit.destination, addresses);
        }
        Some(addresses)
    }
}
