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
    frame,
    ip::V4,
    maps, node,
    outcome::{Outcome, Step},
    packet::Packet,
    pipeline, steps, transmit,
};
use lru::Lru;

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
#[inline(always)]
pub fn table(context: XdpContext) -> u32 {
    match written(&context) {
        Some(packet) => ended(&packet, steps::run(&packet)),
        None => XDP_ABORTED,
    }
}

/// The same with another flow table, for what it is measured by.
#[xdp]
#[inline(always)]
pub fn lru(context: XdpContext) -> u32 {
    match written(&context) {
        Some(packet) => ended(&packet, by_lru(&packet)),
        None => XDP_ABORTED,
    }
}

/// The way of a plain packet of IPv4 with the other table.
#[inline(always)]
fn by_lru(packet: &Packet) -> Outcome {
    match frame::kind(packet) {
        Some((frame::IPV4, least)) => pipeline::plain::<V4, Lru>(packet, least),
        _ => Outcome::next::<V4>(Step::General),
    }
}

/// The next packet, written.
#[inline(always)]
fn written(context: &XdpContext) -> Option<Packet> {
    prologue::write(context.ctx).then(|| Packet::of(context.ctx))
}

/// What the product's `main.rs` does with a packet that has gone its way.
#[inline(always)]
fn ended(packet: &Packet, outcome: Outcome) -> u32 {
    maps::count(outcome, packet.length());
    node::sample(packet.context(), outcome);
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
