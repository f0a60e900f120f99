//! The way of a packet.
#![no_std]
