//! What `cargo xtask bench` runs in the kernel: the product's pipeline and what it is
//! measured against.
#![no_std]
#![cfg_attr(target_arch = "bpf", no_main)]
#![allow(
    missing_docs,
    reason = "the macro adds a symbol of its own without docs"
)]

mod lru;
mod prologue;
mod traffic;

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_TX},
    macros::xdp,
    programs::XdpContext,
};
use lb_ebpf::{
    ip::V4,
    maps, node,
    packet::{Context, Packet},
    pipeline,
    steps::{self, step_plain4},
    transmit,
};

/// The least that a program which sends packets back can do.
#[xdp]
pub fn swap(context: XdpContext) -> u32 {
    let Some(frame) = Packet::of(context.ctx).window::<14>() else {
        return XDP_ABORTED;
    };
    let (low, high) = (frame.load::<u32, 0>(), frame.load::<u16, 4>());
    frame.store::<u32, 0>(frame.load::<u32, 6>());
    frame.store::<u16, 4>(frame.load::<u16, 10>());
    frame.store::<u32, 6>(low);
    frame.store::<u16, 10>(high);
    XDP_TX
}

/// What the two below do before a packet's way begins: to be subtracted.
#[xdp]
pub fn prologue(context: XdpContext) -> u32 {
    if prologue::write(context.ctx) {
        XDP_TX
    } else {
        XDP_ABORTED
    }
}

/// The product.
#[xdp]
pub fn table(context: XdpContext) -> u32 {
    way(&context, step_plain4)
}

/// The product with another flow table.
#[xdp]
pub fn lru(context: XdpContext) -> u32 {
    way(&context, step_plain4_lru)
}

/// The way of a plain packet with the other table.
#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_plain4_lru(context: Context) -> u64 {
    pipeline::plain::<V4, lru::Lru>(context).word()
}

/// A packet is written, then goes the way that it goes in the product's `main.rs`.
#[inline(always)]
fn way(context: &XdpContext, plain: extern "C" fn(Context) -> u64) -> u32 {
    if !prologue::write(context.ctx) {
        return XDP_ABORTED;
    }
    let packet = &Packet::of(context.ctx);
    let outcome = steps::run(packet, plain);
    maps::count(outcome, packet.length());
    node::sample(context.ctx, outcome);
    transmit::action(outcome)
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
