//! What both sides must agree on.
#![no_std]
