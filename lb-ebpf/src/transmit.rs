//! What the kernel is told to do with a packet.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use lb_common::verdict::Action;

use crate::{maps, node, pipeline::Outcome};

/// The XDP action of an outcome.
#[inline(always)]
#[must_use]
pub fn action(outcome: &Outcome) -> u32 {
    match outcome.verdict.action() {
        Action::Pass => XDP_PASS,
        Action::Drop => XDP_DROP,
        Action::Transmit if outcome.ifindex == node::ifindex() => XDP_TX,
        // An interface that has gone is found by userspace, which puts another way in
        // the records; until then such packets are aborted, and the kernel counts them.
        Action::Transmit => match maps::redirect(outcome.egress) {
            Ok(action) | Err(action) => action,
        },
    }
}
