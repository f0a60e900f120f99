//! The sink: only frames that are as they should be count.

use crate::{
    packet::{Packet, Window},
    records::{Arrived, Expected, WORDS},
};
use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::map,
    maps::{Array, PerCpuArray},
};

#[map]
static EXPECTED: Array<Expected> = Array::with_max_entries(1, 0);
#[map]
static ARRIVED: PerCpuArray<Arrived> = PerCpuArray::with_max_entries(1, 0);

const IPV4: u16 = 0x0800u16.to_be();
const IPV6: u16 = 0x86ddu16.to_be();
const HOP_BY_HOP: u8 = 0;
const ICMPV6: u8 = 58;

/// Counts a frame of the generator's and drops it. What hosts say to one another by
/// themselves passes.
#[inline(always)]
pub fn count(packet: &Packet) -> Option<u32> {
    let frame = match packet.window::<{ WORDS * 8 }>() {
        Some(frame) => frame,
        None => return Some(XDP_PASS),
    };
    let arrived = ARRIVED.get_ptr_mut(0)?;
    let is_right = is(frame, EXPECTED.get(0)?);
    if !is_right && is_of_hosts(frame) {
        return Some(XDP_PASS);
    }
    // SAFETY: this CPU's own.
    let arrived = unsafe { &mut *arrived };
    if is_right {
        arrived.right += 1;
    } else {
        arrived.wrong += 1;
    }
    Some(XDP_DROP)
}

#[inline(always)]
fn is(frame: Window<{ WORDS * 8 }>, expected: &Expected) -> bool {
    let mut differs = 0;
    macro_rules! compare {
        ($($word:literal)+) => {$(
            let word = frame.load::<u64, { $word * 8 }>();
            differs |= word & expected.mask[$word] ^ expected.words[$word];
        )+};
    }
    compare!(0 1 2 3 4 5 6 7);
    differs == 0
}

/// Whether it isn't IP, or is about neighbours.
#[inline(always)]
fn is_of_hosts(frame: Window<{ WORDS * 8 }>) -> bool {
    match frame.load::<u16, 12>() {
        IPV4 => false,
        IPV6 => matches!(frame.load::<u8, 20>(), HOP_BY_HOP | ICMPV6),
        _ => true,
    }
}
