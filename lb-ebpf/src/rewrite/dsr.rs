//! Direct server return: the backend gets the packet as the client sent it, and
//! answers the client itself.

use super::link;
use crate::{maps::BackendRef, parse::Segment};

/// Addresses the frame to the backend.
#[inline(always)]
pub fn forward(segment: &Segment, backend: BackendRef) {
    link(segment.head(), backend.hop());
}
