//! The link layer: VLAN tags, EtherType, and whom the frame is for.

use core::mem::offset_of;

use lb_common::{
    tags::{CUSTOMER_TAG, SERVICE_TAG, Tags},
    verdict::Verdict,
};
use network_types::eth::EthHdr;

use crate::{
    maps::HopRef,
    node,
    packet::{Context, Packet, Window, growth},
};

/// Offsets into the Ethernet header.
pub mod at {
    use super::{EthHdr, offset_of};

    /// Destination MAC.
    pub const DESTINATION: usize = offset_of!(EthHdr, dst_addr);
    /// Source MAC.
    pub const SOURCE: usize = offset_of!(EthHdr, src_addr);
    /// EtherType, or the first tag.
    pub const TYPE: usize = offset_of!(EthHdr, ether_type);
}

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800u16.to_be();
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86ddu16.to_be();
const ARP: u16 = 0x0806u16.to_be();
const CUSTOMER: u16 = CUSTOMER_TAG.to_be();
const SERVICE: u16 = SERVICE_TAG.to_be();
const TAG: usize = 4;
/// Length of the shortest frame with a plain packet, in bytes: headers of Ethernet, IPv4 and TCP.
/// Only virtual cables bring shorter ones.
pub const LEAST: usize = 54;
/// All bits of the length of a link layer.
const MAX_IP: usize = 0x1f;
/// The group bit, in the first byte of a MAC address.
const MAC_GROUP: u8 = 1;

/// What the frame carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// IPv4 for us.
    Ipv4,
    /// IPv6 for us.
    Ipv6,
    /// IPv6 for a group of hosts.
    Ipv6ToGroup,
    /// ARP.
    Arp,
    /// Nothing of ours.
    Foreign,
}

/// A frame's link layer.
#[derive(Clone, Copy)]
pub struct Frame {
    /// What it carries.
    pub carries: Carries,
    /// The verdict on one that carries nothing of ours.
    pub verdict: Verdict,
    /// Where that begins.
    pub ip: usize,
    /// Its VLAN tags; those of priority only (identifier 0) count as none.
    pub tags: Tags,
}

impl Frame {
    /// One without tags.
    pub const PLAIN: Frame = Frame {
        carries: Carries::Foreign,
        verdict: Verdict::DropInternal,
        ip: EthHdr::LEN,
        tags: Tags::NONE,
    };

    #[inline(always)]
    fn foreign(verdict: Verdict) -> Self {
        Frame {
            verdict,
            ..Frame::PLAIN
        }
    }

    /// The same frame, of whose length the verifier doesn't know which it is.
    #[inline(always)]
    #[must_use]
    pub fn any(self) -> Self {
        Frame {
            ip: node::any(self.ip as u64) as usize & MAX_IP,
            tags: Tags(node::any(u64::from(self.tags.0)) as u32),
            ..self
        }
    }
}

/// The EtherType of a frame for us, its tag's if it has one, and the frame's beginning. `None` for
/// other frames, and those shorter than a plain packet's.
#[inline(always)]
#[must_use]
pub fn kind(packet: &Packet) -> Option<(u16, Window<LEAST>)> {
    let least = packet.window::<LEAST>()?;
    let head = least.narrow();
    is_ours(head).then(|| (head.load::<u16, { at::TYPE }>(), least))
}

/// Reads a frame's link layer.
#[inline(always)]
#[must_use]
pub fn parse(packet: &Packet) -> Frame {
    let Some(head) = packet.window::<{ EthHdr::LEN }>() else {
        return Frame::foreign(Verdict::PassMalformed);
    };
    let mut kind = head.load::<u16, { at::TYPE }>();
    let (mut ip, mut tags) = (EthHdr::LEN, Tags::NONE);
    if is_tag(kind) {
        let Some(tag) = packet.at::<TAG>(EthHdr::LEN) else {
            return Frame::foreign(Verdict::PassMalformed);
        };
        let (outer, outer_kind) = (id(tag), kind);
        kind = tag.load::<u16, 2>();
        ip = EthHdr::LEN + TAG;
        let mut inner = (0, 0);
        if is_tag(kind) {
            let Some(tag) = packet.at::<TAG>(EthHdr::LEN + TAG) else {
                return Frame::foreign(Verdict::PassMalformed);
            };
            inner = (id(tag), kind);
            kind = tag.load::<u16, 2>();
            ip = EthHdr::LEN + 2 * TAG;
        }
        if outer | inner.0 != 0 {
            if inner.1 != 0 {
                tags = tags.within(inner.0, inner.1 == SERVICE);
            }
            tags = tags.within(outer, outer_kind == SERVICE);
        }
        ip = node::any(ip as u64) as usize & MAX_IP;
        tags = Tags(node::any(u64::from(tags.0)) as u32);
    }
    let group = head.load::<u8, { at::DESTINATION }>() & MAC_GROUP != 0;
    let ours = is_ours(head);
    let (carries, verdict) = match kind {
        IPV4 if ours => (Carries::Ipv4, Verdict::DropInternal),
        IPV6 if ours => (Carries::Ipv6, Verdict::DropInternal),
        ARP if ours || group => (Carries::Arp, Verdict::DropInternal),
        IPV6 if group => (Carries::Ipv6ToGroup, Verdict::PassGroup),
        IPV4 if group => (Carries::Foreign, Verdict::PassGroup),
        IPV4 | IPV6 | ARP => (Carries::Foreign, Verdict::PassOtherHost),
        _ => (Carries::Foreign, Verdict::PassProtocol),
    };
    Frame {
        carries,
        verdict,
        ip,
        tags,
    }
}

/// Whether the frame is addressed to this interface. A shift takes away what follows the
/// address in a little-endian word.
#[inline(always)]
fn is_ours(head: Window<{ EthHdr::LEN }>) -> bool {
    head.load::<u64, { at::DESTINATION }>() << 16 == node::mac_above()
}

#[inline(always)]
fn is_tag(kind: u16) -> bool {
    kind == CUSTOMER || kind == SERVICE
}

#[inline(always)]
fn id(tag: Window<TAG>) -> u16 {
    u16::from_be(tag.load::<u16, 0>()) & Tags::ID as u16
}

/// Addresses the frame to the next hop: MACs and tags. `Some` is the verdict on one that
/// can't be.
#[inline(always)]
#[must_use]
pub fn send(packet: &Packet, frame: &Frame, hop: HopRef) -> Option<Verdict> {
    if frame.tags == hop.tags() {
        return match packet.window() {
            Some(head) => {
                address(head, hop.macs());
                None
            }
            None => Some(Verdict::DropInternal),
        };
    }
    let (macs, source) = hop.macs();
    if step_retag(packet.context(), hop.tags().0, macs, source) != 0 {
        None
    } else {
        Some(Verdict::DropNoHeadroom)
    }
}

/// By itself, so that the verifier looks at it once. 1 if there was room, else 0.
#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_retag(context: Context, tags: u32, macs: u64, source: u32) -> u64 {
    let packet = Packet::of(context);
    let frame = parse(&packet);
    match retag(&packet, &frame, Tags(tags)).and_then(|packet| packet.window()) {
        Some(head) => {
            address(head, (macs, source));
            1
        }
        None => 0,
    }
}

/// Writes both MAC addresses, as [`HopRef::macs`] has them.
#[inline(always)]
pub fn address(head: Window<{ EthHdr::LEN }>, (macs, source): (u64, u32)) {
    head.store::<u64, 0>(macs);
    head.store::<u32, 8>(source);
}

/// Writes the EtherType of a frame without tags.
#[inline(always)]
pub fn set_kind(head: Window<{ EthHdr::LEN }>, kind: u16) {
    head.store::<u16, { at::TYPE }>(kind);
}

/// Takes the frame's tags away and puts `tags` in, with the priority that the frame had
/// (IEEE 802.1Q section 6.9). The MAC addresses are undefined then.
#[inline(always)]
fn retag(packet: &Packet, frame: &Frame, tags: Tags) -> Option<Packet> {
    let old = packet.at::<2>(frame.ip - 2)?;
    let kind = old.load::<u16, 0>();
    let priority = if frame.ip > EthHdr::LEN {
        let tag = packet.at::<TAG>(EthHdr::LEN)?;
        u16::from_be(tag.load::<u16, 0>()) & 0xf000
    } else {
        0
    };
    let length = EthHdr::LEN + TAG * tags.count() as usize;
    let packet = packet.with_head(growth(frame.ip, length))?;
    let head = packet.window::<{ EthHdr::LEN }>()?;
    let Some((outer_kind, outer)) = tags.outer() else {
        head.store::<u16, { at::TYPE }>(kind);
        return Some(packet);
    };
    let head = packet.window::<{ EthHdr::LEN + TAG }>()?;
    head.store::<u16, { at::TYPE }>(outer_kind.to_be());
    head.store::<u16, { at::TYPE + 2 }>((outer | priority).to_be());
    let Some((inner_kind, inner)) = tags.inner() else {
        head.store::<u16, { at::TYPE + 4 }>(kind);
        return Some(packet);
    };
    let head = packet.window::<{ EthHdr::LEN + 2 * TAG }>()?;
    head.store::<u16, { at::TYPE + 4 }>(inner_kind.to_be());
    head.store::<u16, { at::TYPE + 6 }>(inner.to_be());
    head.store::<u16, { at::TYPE + 8 }>(kind);
    Some(packet)
}

/// Moves what is behind the link layer `bytes` away from it, or towards it when negative:
/// MAC addresses and tags stay before it, and the EtherType becomes `kind`. What is new
/// between them is undefined. `None` when there is no room.
#[inline(always)]
#[must_use]
pub fn part(packet: &Packet, frame: &Frame, bytes: i32, kind: u16) -> Option<Packet> {
    let head = packet.window::<{ EthHdr::LEN + 2 * TAG }>()?;
    let (first, second) = head.load_pair::<0>();
    let last = head.load::<u32, 16>();
    let packet = packet.with_head(bytes)?;
    // Behind a link layer with fewer tags there may be what has been moved.
    let head = packet.window::<{ EthHdr::LEN }>()?;
    head.store::<u64, 0>(first);
    head.store::<u32, 8>(second as u32);
    if frame.ip > EthHdr::LEN {
        let outer = packet.window::<{ EthHdr::LEN + TAG }>()?;
        outer.store::<u32, { at::TYPE }>((second >> 32) as u32);
    }
    if frame.ip > EthHdr::LEN + TAG {
        let inner = packet.window::<{ EthHdr::LEN + 2 * TAG }>()?;
        inner.store::<u32, { at::TYPE + TAG }>(last);
    }
    packet.at::<2>(frame.ip - 2)?.store::<u16, 0>(kind);
    Some(packet)
}

/// Addresses the frame to whom it came from, its tags as they are. `None` when it is too
/// short.
#[inline(always)]
#[must_use]
pub fn back(packet: &Packet) -> Option<()> {
    let head = packet.window::<{ EthHdr::LEN }>()?;
    let mac = node::mac();
    let low = head.load::<u32, { at::SOURCE }>();
    let high = head.load::<u16, { at::SOURCE + 4 }>();
    head.store::<u32, { at::DESTINATION }>(low);
    head.store::<u16, { at::DESTINATION + 4 }>(high);
    head.store::<u32, { at::SOURCE }>(mac as u32);
    head.store::<u16, { at::SOURCE + 4 }>((mac >> 32) as u16);
    Some(())
}
