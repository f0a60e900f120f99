//! What the kernel is told to do with a packet.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use lb_common::verdict::FIRST_TRANSMIT;

use crate::{maps, node, outcome::Outcome};

/// The XDP action of an outcome.
#[inline(always)]
#[must_use]
pub fn action(outcome: Outcome) -> u32 {
    if !outcome.is_sent() {
        return if outcome.is_below(FIRST_TRANSMIT) {
            XDP_PASS
        } else {
            XDP_DROP
        };
    }
    if u64::from(outcome.egress()) == node::egress() {
        return XDP_TX;
    }
    // An interface that has gone is found by userspace, which puts another way in
    // the records; until then such packets are aborted, and the kernel counts them.
    match maps::redirect(outcome.egress()) {
        Ok(action) | Err(action) => action,
    }
}
