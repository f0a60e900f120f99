//! The way of a packet.
//!
//! [`pipeline`] reads top to bottom:
//! frame → parse → service → flow → schedule → rewrite → transmit.
#![no_std]
#![cfg_attr(
    target_arch = "bpf",
    allow(internal_features),
    feature(asm_experimental_arch, core_intrinsics)
)]

pub mod answer;
pub mod clock;
pub mod exact;
pub mod flow;
pub mod fragment;
pub mod frame;
pub mod full;
pub mod icmp;
pub mod ip;
pub mod maps;
pub mod node;
pub mod outcome;
pub mod packet;
pub mod parse;
pub mod pipeline;
pub mod ports;
pub mod rewrite;
pub mod schedule;
pub mod service;
pub mod steps;
pub mod transmit;
pub mod turn;
pub mod watch;
