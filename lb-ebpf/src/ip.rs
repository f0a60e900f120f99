//! What the two IP versions have in common, and where they differ.

use lb_common::{
    abi::{self, Family},
    checksum::Delta,
};

use crate::{
    answer::{self, too_big},
    frame::Frame,
    icmp::{self, Quoted},
    maps::Destination,
    node,
    packet::{Context, Packet},
    parse::{self, Parsed, Segment, at},
    pipeline::Outcome,
};

/// An IP version.
pub trait Ip: Copy + 'static {
    /// Its addresses, as they lie in a packet.
    type Address: Address;
    /// Which one it is.
    const FAMILY: Family;
    /// Length of its header without options or extensions.
    const HEADER: usize;
    /// Type and code of the ICMP error that tells of a packet too long, as they lie in
    /// the packet.
    const TOO_BIG: u16;
    /// Which bits of them a receiver looks at.
    const TOO_BIG_BITS: u16;

    /// Tells what a packet of this version, addressed to us, is.
    fn parse(packet: &Packet, frame: &Frame) -> Parsed<Self>
    where
        Self: Sized;

    /// What a header without options says is behind it, its source and its destination.
    /// `None` for other headers, and those of a later fragment.
    fn plain(packet: &Packet, frame: &Frame) -> Option<(u8, Self::Address, Self::Address)>;

    /// Length of the whole packet in bytes.
    fn length(packet: &Packet, frame: &Frame) -> Option<u16>;

    /// Source and destination.
    fn ends(packet: &Packet, frame: &Frame) -> Option<(Self::Address, Self::Address)>;

    /// Time to live or hop limit.
    fn lifetime(packet: &Packet, frame: &Frame) -> Option<u8>;

    /// DSCP and ECN: type of service or traffic class.
    fn class(packet: &Packet, frame: &Frame) -> Option<u8>;

    /// The header's checksum; 0 where there is none.
    fn checksum(packet: &Packet, frame: &Frame) -> Option<u16>;

    /// The difference that other addresses make to an ICMP checksum.
    fn pseudo(addresses: Delta) -> Delta;

    /// Makes the frame an answer to whom it came from, by which the sender of the packet
    /// in it, of which `there` bytes are there, is told that the way takes `mtu` bytes.
    /// False when there is no room for it.
    fn tell(context: Context, there: u32, mtu: u32) -> bool;

    /// Where the packet lies that begins at `at` of an error's frame and ends at `end` or
    /// before, if it is one of TCP or UDP.
    fn quoted(packet: &Packet, at: usize, end: usize) -> Option<Quoted>;

    /// Answers an echo request to a VIP.
    fn echo(packet: &Packet, frame: &Frame, request: &Segment<Self>) -> Outcome
    where
        Self: Sized;

    /// Changes the IP header as `edit` says, and its checksum with it. The difference that
    /// the addresses make to other checksums; `None` when the header isn't there.
    fn edit(packet: &Packet, frame: &Frame, edit: &Edit<Self>) -> Option<Delta>
    where
        Self: Sized;
}

/// What is to change in an IP header.
#[derive(Clone, Copy)]
pub struct Edit<I: Ip> {
    /// Whether a hop is counted.
    pub hop: bool,
    /// Another source.
    pub source: New<I::Address>,
    /// Another destination.
    pub destination: New<I::Address>,
}

/// Another value, perhaps. Both fields are always set: not all verifiers see that the
/// unset one of an `Option` is never used.
#[derive(Clone, Copy)]
pub struct New<T> {
    /// Whether there is one.
    pub is_given: bool,
    /// Which.
    pub value: T,
}

impl<T> New<T> {
    /// This value.
    #[inline(always)]
    pub fn to(value: T) -> Self {
        New {
            is_given: true,
            value,
        }
    }
}

impl New<u16> {
    /// The value stays as it is.
    pub const NONE: New<u16> = New {
        is_given: false,
        value: 0,
    };
}

impl<A: Address> New<A> {
    /// The address stays as it is.
    pub const KEPT: New<A> = New {
        is_given: false,
        value: A::NONE,
    };
}

impl<I: Ip> Edit<I> {
    /// A hop is counted, nothing else.
    pub const HOP: Edit<I> = Edit {
        hop: true,
        source: New::KEPT,
        destination: New::KEPT,
    };
}

/// An address as it lies in a packet.
pub trait Address: Copy + PartialEq + Destination {
    /// No address.
    const NONE: Self;

    /// From a map record, whose first word is `high`, and whose second `low` reads.
    fn read(high: u64, low: impl Fn() -> u64) -> Self;
    /// In the words of a map record.
    fn words(self) -> abi::Address;
    /// In one word, for the hash of a flow.
    fn folded(self) -> u64;
    /// Whether it can be one host's address: of a machine that isn't this one.
    fn is_one_host(self) -> bool;
}

impl Address for u32 {
    const NONE: u32 = 0;

    #[inline(always)]
    fn read(high: u64, _: impl Fn() -> u64) -> Self {
        high as u32
    }

    #[inline(always)]
    fn words(self) -> abi::Address {
        [self, 0, 0, 0]
    }

    #[inline(always)]
    fn folded(self) -> u64 {
        u64::from(self)
    }

    /// Not 0.0.0.0/8, not 127.0.0.0/8, and neither multicast nor beyond it (RFC 1122
    /// section 3.2.1.3).
    #[inline(always)]
    fn is_one_host(self) -> bool {
        let first = u32::from_be(self) >> 24;
        first != 0 && first != 127 && first < 224
    }
}

/// An IPv6 address, as it lies in a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Six {
    /// Its first eight bytes.
    pub high: u64,
    /// Its last eight bytes.
    pub low: u64,
}

impl Six {
    /// `delta` and the difference that this address makes when `new` takes its place.
    #[inline(always)]
    fn replaced(self, new: Self, delta: Delta) -> Delta {
        let ([a, b, c, d], [e, f, g, h]) = (self.words(), new.words());
        delta.pair(a, e).pair(b, f).pair(c, g).pair(d, h)
    }
}

/// ::1, the last eight bytes.
const LOOPBACK: u64 = 1u64.to_be();

impl Address for Six {
    const NONE: Six = Six { high: 0, low: 0 };

    #[inline(always)]
    fn read(high: u64, low: impl Fn() -> u64) -> Self {
        Six { high, low: low() }
    }

    #[inline(always)]
    fn words(self) -> abi::Address {
        [
            self.high as u32,
            (self.high >> 32) as u32,
            self.low as u32,
            (self.low >> 32) as u32,
        ]
    }

    #[inline(always)]
    fn folded(self) -> u64 {
        node::fold_keys().fold(self.words())
    }

    /// Neither ::, ::1 nor multicast (RFC 4291 section 2).
    #[inline(always)]
    fn is_one_host(self) -> bool {
        let special = self.high == 0 && (self.low == 0 || self.low == LOOPBACK);
        !special && self.high as u8 != 0xff
    }
}

/// IPv4 (RFC 791).
#[derive(Clone, Copy)]
pub struct V4;

/// IPv6 (RFC 8200).
#[derive(Clone, Copy)]
pub struct V6;

impl Ip for V4 {
    type Address = u32;
    const FAMILY: Family = Family::V4;
    const HEADER: usize = at::IPV4;
    const TOO_BIG: u16 = 0x0304u16.to_be();
    const TOO_BIG_BITS: u16 = 0xffff;

    #[inline(always)]
    fn parse(packet: &Packet, frame: &Frame) -> Parsed<V4> {
        parse::ipv4::parse(packet, frame)
    }

    #[inline(always)]
    fn plain(packet: &Packet, frame: &Frame) -> Option<(u8, u32, u32)> {
        let header = packet.at::<{ at::IPV4 }>(frame.ip)?;
        let fragment = header.load::<u16, { at::ipv4::FRAGMENT }>();
        let is_later = fragment & 0x1fffu16.to_be() != 0;
        if header.load::<u8, { at::ipv4::VERSION }>() != 0x45 || is_later {
            return None;
        }
        Some((
            header.load::<u8, { at::ipv4::PROTOCOL }>(),
            header.load::<u32, { at::ipv4::SOURCE }>(),
            header.load::<u32, { at::ipv4::DESTINATION }>(),
        ))
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
            let new = edit.source.value;
            addresses = addresses.pair(header.load::<u32, { at::ipv4::SOURCE }>(), new);
            header.store::<u32, { at::ipv4::SOURCE }>(new);
        }
        if edit.destination.is_given {
            let new = edit.destination.value;
            addresses = addresses.pair(header.load::<u32, { at::ipv4::DESTINATION }>(), new);
            header.store::<u32, { at::ipv4::DESTINATION }>(new);
        }
        let mut all = addresses;
        if edit.hop {
            let lifetime = header.load::<u16, { at::ipv4::TTL }>();
            let less = (u16::from_be(lifetime).wrapping_sub(0x100)).to_be();
            header.store::<u16, { at::ipv4::TTL }>(less);
            all = all.word(lifetime, less);
        }
        let checksum = header.load::<u16, { at::ipv4::CHECKSUM }>();
        header.store::<u16, { at::ipv4::CHECKSUM }>(all.apply(checksum));
        Some(addresses)
    }
}

impl Ip for V6 {
    type Address = Six;
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
    fn plain(packet: &Packet, frame: &Frame) -> Option<(u8, Six, Six)> {
        let header = packet.at::<{ at::IPV6 }>(frame.ip)?;
        if header.load::<u8, { at::ipv6::VERSION }>() >> 4 != 6 {
            return None;
        }
        let source = Six {
            high: header.load::<u64, { at::ipv6::SOURCE }>(),
            low: header.load::<u64, { at::ipv6::SOURCE + 8 }>(),
        };
        let destination = Six {
            high: header.load::<u64, { at::ipv6::DESTINATION }>(),
            low: header.load::<u64, { at::ipv6::DESTINATION + 8 }>(),
        };
        Some((header.load::<u8, { at::ipv6::NEXT }>(), source, destination))
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
        let source = Six {
            high: header.load::<u64, { at::ipv6::SOURCE }>(),
            low: header.load::<u64, { at::ipv6::SOURCE + 8 }>(),
        };
        let destination = Six {
            high: header.load::<u64, { at::ipv6::DESTINATION }>(),
            low: header.load::<u64, { at::ipv6::DESTINATION + 8 }>(),
        };
        Some((source, destination))
    }

    #[inline(always)]
    fn lifetime(packet: &Packet, frame: &Frame) -> Option<u8> {
        let header = packet.at::<{ at::IPV6 }>(frame.ip)?;
        Some(header.load::<u8, { at::ipv6::HOP_LIMIT }>())
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
            let new = edit.source.value;
            let old = Six {
                high: header.load::<u64, { at::ipv6::SOURCE }>(),
                low: header.load::<u64, { at::ipv6::SOURCE + 8 }>(),
            };
            addresses = old.replaced(new, addresses);
            header.store::<u64, { at::ipv6::SOURCE }>(new.high);
            header.store::<u64, { at::ipv6::SOURCE + 8 }>(new.low);
        }
        if edit.destination.is_given {
            let new = edit.destination.value;
            let old = Six {
                high: header.load::<u64, { at::ipv6::DESTINATION }>(),
                low: header.load::<u64, { at::ipv6::DESTINATION + 8 }>(),
            };
            addresses = old.replaced(new, addresses);
            header.store::<u64, { at::ipv6::DESTINATION }>(new.high);
            header.store::<u64, { at::ipv6::DESTINATION + 8 }>(new.low);
        }
        Some(addresses)
    }
}
