//! What `cargo xtask path` runs in the kernel around a forwarder: the generator before it,
//! the sink behind it, and the barest forwarders to compare it with.
#![no_std]
#![cfg_attr(target_arch = "bpf", no_main)]
#![allow(
    missing_docs,
    reason = "the macro adds a symbol of its own without docs"
)]

mod bare;
mod generate;
mod packet;
mod records;
mod sink;

use aya_ebpf::{bindings::xdp_action::XDP_ABORTED, macros::xdp, programs::XdpContext};

use packet::Packet;

/// Writes a frame and sends it: run on live frames.
#[xdp]
pub fn generate(context: XdpContext) -> u32 {
    generate::send(&Packet::of(&context)).unwrap_or(XDP_ABORTED)
}

/// Counts frames and drops them.
#[xdp]
pub fn sink(context: XdpContext) -> u32 {
    sink::count(&Packet::of(&context)).unwrap_or(XDP_ABORTED)
}

/// Addresses a frame to the sink and sends it out of another interface.
#[xdp]
pub fn bare_redirect(context: XdpContext) -> u32 {
    bare::redirect(&Packet::of(&context)).unwrap_or(XDP_ABORTED)
}

/// Swaps the MAC addresses and sends a frame back.
#[xdp]
pub fn bare_tx(context: XdpContext) -> u32 {
    bare::swap(&Packet::of(&context)).unwrap_or(XDP_ABORTED)
}

/// For interfaces whose other end sends by XDP, which takes a program here.
#[xdp]
pub fn pass(_: XdpContext) -> u32 {
    aya_ebpf::bindings::xdp_action::XDP_PASS
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
