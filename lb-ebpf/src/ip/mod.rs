//! What the two IP versions have in common, and where they differ.

mod address;
mod v4;
mod v6;

use lb_common::{abi::Family, checksum::Delta};

use crate::{
    frame::{self, Frame},
    icmp::Quoted,
    outcome::Outcome,
    packet::{Context, Packet, Window},
    parse::{Head, Parsed, Segment},
};

pub use address::{Address, Six};
pub use v4::V4;
pub use v6::V6;

/// An IP version.
pub trait Ip: Copy + 'static {
    /// Its addresses, as they lie in a packet.
    type Address: Address;
    /// The head of a plain packet's frame: its headers, as far as that of TCP.
    type Head: Head<Self>;
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

    /// The head of a frame without tags, and its protocol as [`lb_common::abi::carried`] gives it, if
    /// its packet is whole, has neither options nor extensions, and carries TCP or UDP. `None`
    /// for any other packet, and for what is malformed. `least` is the beginning of the frame.
    fn plain(packet: &Packet, least: Window<{ frame::LEAST }>) -> Option<(Self::Head, u32)>;

    /// The head of a frame whose packet is known to be plain. Then never `None`.
    fn head(packet: &Packet) -> Option<Self::Head>;

    /// What a header without options says is behind it. `None` for other headers, and
    /// those of a later fragment.
    fn carries(packet: &Packet, frame: &Frame) -> Option<u8>;

    /// Length of the whole packet in bytes.
    fn length(packet: &Packet, frame: &Frame) -> Option<u16>;

    /// Source and destination.
    fn ends(packet: &Packet, frame: &Frame) -> Option<(Self::Address, Self::Address)>;

    /// Time to live or hop limit.
    fn lifetime(packet: &Packet, frame: &Frame) -> Option<u8>;
    /// Counts a hop of a packet with that [`Ip::lifetime`].
    fn hop(packet: &Packet, frame: &Frame, lifetime: u8) -> Option<()>;

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

/// Another value, perhaps. All fields are always set: not all verifiers see that the
/// unset one of an `Option` is never used.
#[derive(Clone, Copy)]
pub struct New<T> {
    /// Whether there is one.
    pub is_given: bool,
    /// Which.
    pub value: T,
    /// Whether it is known what it changes a sum by.
    pub is_known: bool,
    /// By what, see [`Delta::known`].
    pub difference: u16,
}

impl<T> New<T> {
    /// This value.
    #[inline(always)]
    pub fn to(value: T) -> Self {
        New {
            is_given: true,
            value,
            is_known: false,
            difference: 0,
        }
    }

    /// This value, which changes a sum by so much.
    #[inline(always)]
    pub fn by(value: T, difference: u16) -> Self {
        New {
            is_known: true,
            difference,
            ..New::to(value)
        }
    }

    const fn none(value: T) -> Self {
        New {
            is_given: false,
            value,
            is_known: false,
            difference: 0,
        }
    }
}

impl New<u16> {
    /// The value stays as it is.
    pub const NONE: New<u16> = New::none(0);
}

impl<A: Address> New<A> {
    /// The address stays as it is.
    pub const KEPT: New<A> = New::none(A::NONE);
}
