//! The XDP program by `BPF_PROG_TEST_RUN`: real object, real maps, real kernel; one
//! packet in, verdict and packet out. Needs root.
//!
//! What is expected is built by etherparse, which computes every checksum from
//! scratch, and by [`spec`], a plain reading of the specification. None of it uses
//! the code under test.

mod diff;
mod frame;
mod modes;
mod packet;
mod pool;
mod random;
mod rig;
mod row;
mod site;
mod spec;

mod arp;
mod changing;
mod drops;
mod dsr;
mod echo;
mod foreign;
mod fragments;
mod full_nat;
mod headroom;
mod icmp_errors;
mod ipv6;
mod jumbo;
mod nat_forward;
mod nat_return;
mod pass;
mod pool_fill;
mod ranges;
mod solicitation;
mod tags;
mod too_big;
mod tunnel;

mod blocks;
mod clock;
mod coverage;
mod flood;
mod flows;
mod malformed;
mod race;
mod sample;
mod watch;
