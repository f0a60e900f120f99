//! Flowgate's XDP program: the product.
#![no_std]
#![cfg_attr(target_arch = "bpf", no_main)]
#![allow(
    missing_docs,
    reason = "the macro adds a symbol of its own without docs"
)]

use aya_ebpf::{macros::xdp, programs::XdpContext};
use lb_ebpf::{
    clock, maps, node,
    packet::{Context, Packet},
    steps, transmit,
};

// Inlined, for the macro calls each from the program that it makes, and a call takes stack.

/// Every packet that an interface receives, each in one buffer.
#[xdp]
#[inline(always)]
pub fn flowgate(context: XdpContext) -> u32 {
    way(context.ctx)
}

/// The same where packets may lie in several buffers.
#[xdp(frags)]
#[inline(always)]
pub fn flowgate_frags(context: XdpContext) -> u32 {
    way(context.ctx)
}

#[inline(always)]
fn way(context: Context) -> u32 {
    let packet = &Packet::of(context);
    let outcome = steps::run(packet);
    maps::count(outcome, packet.length());
    node::sample(context, outcome);
    transmit::action(outcome)
}

/// The coarse clock that ages flows, for userspace to read by a test run.
#[xdp]
pub fn tick(_context: XdpContext) -> u32 {
    u32::from(clock::tick())
}

#[cfg(target_arch = "bpf")]
// SAFETY: the loader reads the licence there, and nothing else is in that section.
#[unsafe(link_section = "license")]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
extern crate std;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
