//! What Flowgate's data plane and control plane must agree on: the records in
//! the maps, the packet verdicts, and the arithmetic that both sides do.
//!
//! Nothing here needs a kernel or an allocator, so all of it is tested on the
//! host.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod arithmetic;
pub mod checksum;
pub mod flow;
pub mod hash;
pub mod limits;
pub mod tags;
pub mod verdict;
pub mod wheel;
