//! The least that a forwarder can do.

use crate::{packet::Packet, records::Macs};
use aya_ebpf::{
    bindings::xdp_action::XDP_TX,
    macros::map,
    maps::{Array, DevMap},
};

#[map]
static NEXT_HOP: Array<Macs> = Array::with_max_entries(1, 0);
#[map]
static BEHIND: DevMap = DevMap::with_max_entries(1, 0);

/// To the next hop, by another interface.
#[inline(always)]
pub fn redirect(packet: &Packet) -> Option<u32> {
    let macs = NEXT_HOP.get(0)?;
    let frame = packet.window::<14>()?;
    frame.store::<u64, 0>(macs.low);
    frame.store::<u32, 8>(macs.high);
    match BEHIND.redirect(0, 0) {
        Ok(action) | Err(action) => Some(action),
    }
}

/// Back to where it came from.
#[inline(always)]
pub fn swap(packet: &Packet) -> Option<u32> {
    let frame = packet.window::<14>()?;
    let (low, high) = (frame.load::<u32, 0>(), frame.load::<u16, 4>());
    frame.store::<u32, 0>(frame.load::<u32, 6>());
    frame.store::<u16, 4>(frame.load::<u16, 10>());
    frame.store::<u32, 6>(low);
    frame.store::<u16, 10>(high);
    Some(XDP_TX)
}
