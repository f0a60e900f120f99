//! The only code that edits packets on their way to a backend and back: a file a
//! forwarding mode.

pub mod dsr;
pub mod nat;

use lb_common::{abi::Forward, verdict::Verdict};

use crate::{
    maps::{BackendRef, HopWords},
    packet::{Packet, Window},
    parse::Segment,
};

/// Rewrites a segment for its backend. `Some` is the verdict on one that may not go
/// further.
#[inline(always)]
#[must_use]
pub fn forward(packet: &Packet, segment: &Segment, backend: BackendRef) -> Option<Verdict> {
    if backend.forward() == Forward::Dsr as u8 {
        dsr::forward(packet, backend)
    } else if backend.forward() == Forward::Nat as u8 {
        nat::forward(packet, segment, backend)
    } else {
        Some(Verdict::DropInternal)
    }
}

/// Writes both MAC addresses.
#[inline(always)]
fn link<const LEN: usize>(frame: Window<LEN>, hop: HopWords) {
    frame.store::<u64, 0>(hop.macs);
    frame.store::<u32, 8>(hop.source);
}
