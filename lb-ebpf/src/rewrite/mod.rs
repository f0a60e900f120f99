//! The only code that edits packets on their way to a backend and back: a file a
//! forwarding mode.

pub mod nat;
pub mod translate;
pub mod tunnel;

use lb_common::{abi::Forward, verdict::Verdict};
use network_types::eth::EthHdr;

use crate::{
    answer::too_big,
    frame::{self, Frame},
    icmp::{Message, Quoted},
    ip::Ip,
    maps::{BackendRef, HopRef},
    outcome::{Outcome, Step},
    packet::Packet,
    parse::{Reading, Segment},
};

/// A packet's way to its backend.
#[derive(Clone, Copy)]
pub struct Way {
    /// The backend.
    pub backend: BackendRef,
    /// The flow's hash.
    pub hash: u64,
    /// `full-nat`: the number of the flow's port.
    pub place: u32,
}

/// Bits of a flow's hash that its tunnelled packets vary by.
pub const SPREAD_BITS: u32 = 22;
const SPREAD_SHIFT: u32 = 20;

impl Way {
    /// The bits of the hash that vary a tunnel's outer header.
    #[inline(always)]
    #[must_use]
    pub fn spread(&self) -> u32 {
        (self.hash >> SPREAD_SHIFT) as u32 & ((1 << SPREAD_BITS) - 1)
    }

    /// The way to a backend with either that spread or that place.
    #[inline(always)]
    #[must_use]
    pub fn again(backend: BackendRef, number: u32) -> Self {
        Way {
            backend,
            hash: u64::from(number) << SPREAD_SHIFT,
            place: number,
        }
    }

    /// What [`Way::again`] needs.
    #[inline(always)]
    #[must_use]
    pub fn number(&self) -> u32 {
        if self.backend.forward() == Some(Forward::FullNat) {
            self.place
        } else {
            self.spread()
        }
    }
}

/// What an IP packet carries that is to be translated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// A TCP or UDP header.
    Segment,
    /// The rest of a fragmented one.
    Fragment,
}

/// Rewrites a segment or fragment for its backend, in any mode but `full-nat`. `Some` is
/// what became of one that may not go further, or the step into a tunnel of one whose
/// verdict's number is to be `verdict`; a plain packet takes none, unless there are tags.
#[inline(always)]
#[must_use]
pub fn forward<I: Ip, R: Reading<I>>(
    packet: &Packet,
    frame: &Frame,
    segment: &R,
    carried: Carried,
    way: Way,
    verdict: u32,
) -> Option<Outcome> {
    let backend = way.backend;
    let Some(mode) = backend.forward() else {
        return Some(Outcome::here(Verdict::DropInternal));
    };
    // Each mode by itself: what it means is worked out while this is compiled.
    if mode == Forward::Dsr {
        let length = segment.length();
        if let Some(refused) = refused::<I>(packet, frame, length, carried, backend, Forward::Dsr) {
            return Some(refused);
        }
        return frame::send(packet, frame, backend.hop()).map(Outcome::here);
    }
    match mode {
        Forward::Nat => {
            let length = segment.length();
            if let Some(refused) =
                refused::<I>(packet, frame, length, carried, backend, Forward::Nat)
            {
                return Some(refused);
            }
            nat::forward(packet, frame, segment, carried, backend).map(Outcome::here)
        }
        Forward::Dsr | Forward::FullNat => Some(Outcome::here(Verdict::DropInternal)),
        Forward::Ip4 => into::<I, R>(packet, frame, segment, carried, way, verdict, Forward::Ip4),
        Forward::Ip6 => into::<I, R>(packet, frame, segment, carried, way, verdict, Forward::Ip6),
        Forward::Gue4 => into::<I, R>(packet, frame, segment, carried, way, verdict, Forward::Gue4),
        Forward::Gue6 => into::<I, R>(packet, frame, segment, carried, way, verdict, Forward::Gue6),
    }
}

/// What becomes of a plain packet for a backend with no more questions than its
/// [hint](BackendRef::has_room) answers: in `dsr` and tunnels, where no tags are. The verdict's
/// number is to be `verdict`. `None` when nothing is done.
#[inline(always)]
#[must_use]
pub fn at_once<I: Ip>(packet: &Packet, way: Way, verdict: u32) -> Option<Outcome> {
    let (backend, length) = (way.backend, packet.length());
    // First, for `dsr` and tunnels ask it both. In other modes it may say anything: they end below.
    if !backend.has_room(length) {
        return None;
    }
    // Each mode by itself, as in `forward`.
    if backend.is_direct() {
        frame::address(packet.window()?, backend.hop().macs());
        return Some(Outcome::to_backend(verdict, backend));
    }
    let mode = backend.forward_byte();
    if mode < Forward::Ip4 as u8 {
        return None;
    }
    let lifetime = I::lifetime(packet, &Frame::PLAIN)?;
    if lifetime < 2 {
        return Some(Outcome::seldom(Verdict::DropTtl));
    }
    let frame = &Frame::PLAIN;
    let refused = match Forward::from_byte(mode)? {
        Forward::Ip4 => tunnel::forward::<I, true>(packet, frame, way, Forward::Ip4, lifetime),
        Forward::Ip6 => tunnel::forward::<I, true>(packet, frame, way, Forward::Ip6, lifetime),
        Forward::Gue4 => tunnel::forward::<I, true>(packet, frame, way, Forward::Gue4, lifetime),
        Forward::Gue6 => tunnel::forward::<I, true>(packet, frame, way, Forward::Gue6, lifetime),
        Forward::Dsr | Forward::Nat | Forward::FullNat => None,
    };
    Some(match refused {
        Some(refused) => refused,
        None => Outcome::to_backend(verdict, backend),
    })
}

/// [`forward`] into a tunnel.
#[inline(always)]
fn into<I: Ip, R: Reading<I>>(
    packet: &Packet,
    frame: &Frame,
    segment: &R,
    carried: Carried,
    way: Way,
    verdict: u32,
    mode: Forward,
) -> Option<Outcome> {
    if R::PLAIN && way.backend.has_room(packet.length()) {
        let lifetime = I::lifetime(packet, frame)?;
        if lifetime < 2 {
            return Some(Outcome::here(Verdict::DropTtl));
        }
        return tunnel::forward::<I, true>(packet, frame, way, mode, lifetime);
    }
    let length = segment.length();
    if let Some(refused) = refused::<I>(packet, frame, length, carried, way.backend, mode) {
        return Some(refused);
    }
    Some(Outcome::told_way::<I>(Step::Tunnel, way, verdict))
}

/// Rewrites a segment or fragment for its backend in `full-nat`; `place` is the number of
/// its flow's port. `Some` is what became of one that may not go further.
#[inline(always)]
#[must_use]
pub fn forward_full<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
    carried: Carried,
    backend: BackendRef,
    place: u32,
) -> Option<Outcome> {
    if backend.forward() != Some(Forward::FullNat) {
        return Some(Outcome::here(Verdict::DropInternal));
    }
    let mode = Forward::FullNat;
    if let Some(refused) = refused::<I>(packet, frame, segment.length, carried, backend, mode) {
        return Some(refused);
    }
    nat::forward_full(packet, frame, segment, carried, backend, place).map(Outcome::here)
}

/// What became of a packet whose life ends here, or that is too long for its way.
#[inline(always)]
fn refused<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    length: usize,
    carried: Carried,
    backend: BackendRef,
    mode: Forward,
) -> Option<Outcome> {
    if mode != Forward::Dsr && is_last::<I>(packet, frame) {
        return Some(Outcome::here(Verdict::DropTtl));
    }
    let (mtu, overhead) = (backend.mtu(), mode.overhead());
    if length + usize::from(overhead) <= usize::from(mtu) {
        return None;
    }
    let most = mtu.wrapping_sub(overhead);
    Some(too_big::refused::<I>(length, carried, most))
}

/// Rewrites an ICMP error for the backend of the flow that it is about. `Some` is what
/// became of one that may not go further, or the step into a tunnel.
#[inline(always)]
#[must_use]
pub fn forward_error<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
    quote: &Quoted,
    way: Way,
) -> Option<Outcome> {
    let Some(mode) = way.backend.forward() else {
        return Some(Outcome::here(Verdict::DropInternal));
    };
    if mode != Forward::Dsr && is_last::<I>(packet, frame) {
        return Some(Outcome::here(Verdict::DropTtl));
    }
    // No error is told about an error (RFC 1122 section 3.2.2).
    let most = way.backend.mtu().wrapping_sub(mode.overhead());
    if error.length > usize::from(most) {
        return Some(Outcome::here(Verdict::DropTooBig));
    }
    match mode {
        Forward::Dsr => frame::send(packet, frame, way.backend.hop()).map(Outcome::here),
        Forward::Nat | Forward::FullNat => {
            nat::forward_error(packet, frame, error, quote, way, mode).map(Outcome::here)
        }
        Forward::Ip4 | Forward::Ip6 | Forward::Gue4 | Forward::Gue6 => Some(
            Outcome::told_way::<I>(Step::Tunnel, way, Verdict::ForwardError as u32),
        ),
    }
}

/// What became of a packet of `length` bytes that may not go back to its client by this hop.
/// Its server is `told` when what it has sent is too long.
#[inline(always)]
#[must_use]
pub fn refused_back<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    length: impl FnOnce() -> usize,
    told: Option<Carried>,
    hop: HopRef,
) -> Option<Outcome> {
    if is_last::<I>(packet, frame) {
        return Some(Outcome::here(Verdict::DropTtl));
    }
    let mtu = usize::from(hop.mtu());
    // Whatever is in the frame is shorter.
    if packet.length() <= EthHdr::LEN + mtu {
        return None;
    }
    let length = length();
    if length <= mtu {
        return None;
    }
    Some(match told {
        Some(carried) => too_big::refused::<I>(length, carried, hop.mtu()),
        None => Outcome::here(Verdict::DropTooBig),
    })
}

/// Whether a packet's time to live ends here (RFC 1812 section 5.3.1, RFC 8200 section 3).
#[inline(always)]
fn is_last<I: Ip>(packet: &Packet, frame: &Frame) -> bool {
    !matches!(I::lifetime(packet, frame), Some(2..))
}
