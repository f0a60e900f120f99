//! Direct server return: the backend gets the packet as the client sent it, and
//! answers the client itself.

use lb_common::verdict::Verdict;

use super::link;
use crate::{maps::BackendRef, packet::Packet, parse::UDP_LEN};

/// Addresses the frame to the backend. `Some` is the verdict on one that may not go
/// further.
#[inline(always)]
#[must_use]
pub fn forward(packet: &Packet, backend: BackendRef) -> Option<Verdict> {
    let Some(frame) = packet.window::<UDP_LEN>() else {
        return Some(Verdict::DropInternal);
    };
    link(frame, backend.hop());
    None
}
