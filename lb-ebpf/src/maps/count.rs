//! What each CPU counts for itself, in a block of its own.
//!
//! A block has one writer: drivers run XDP programs with bottom halves off, so a program
//! stays on its CPU until it returns, and no other begins there meanwhile. (A real-time kernel may
//! preempt it, and so lose a count, as with per-CPU maps.) So additions are plain ones.

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use lb_common::{abi::Traffic, verdict::Verdict};

use super::region::{self, Region};
use crate::{node, outcome::Outcome};

/// The number of the CPU that this runs on: below that of blocks, which the comparison
/// shows the verifier. So it is never `None`.
#[inline(always)]
fn cpu() -> Option<u64> {
    // SAFETY: the helper takes no arguments and has no preconditions.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
    (cpu < node::cpus()).then_some(cpu)
}

/// A record in a CPU's block: that at `index`, modulo their number.
#[inline(always)]
fn own<T, const RECORDS: usize, const LENGTH: usize>(
    region: Region<[T; RECORDS], LENGTH>,
    cpu: u64,
    index: u32,
) -> *mut T {
    const { assert!(RECORDS.is_power_of_two()) };
    let index = index as usize & (RECORDS - 1);
    // SAFETY: a block has RECORDS records, and the mask keeps the index below that.
    unsafe { region.inside(cpu).cast::<T>().add(index) }
}

/// Counts a packet of `length` bytes, as it came, by its outcome.
#[inline(always)]
pub fn count(outcome: Outcome, length: usize) {
    let Some(cpu) = cpu() else {
        return;
    };
    let verdicts = region::verdicts().inside(cpu).cast::<u64>();
    // SAFETY: VERDICT_SLOTS counters of this CPU's own; a verdict's number is below that.
    unsafe { *verdicts.byte_add(outcome.verdict_offset::<8>()) += 1 };
    let place = outcome.backend_offset::<{ size_of::<Traffic>() }>();
    if place == 0 {
        return;
    }
    let traffic = if outcome.is_to_client() {
        region::to_clients().inside(cpu)
    } else {
        region::to_backends().inside(cpu)
    };
    // SAFETY: a record of this CPU's own, which has one for every number of a backend.
    unsafe {
        let traffic = traffic.cast::<Traffic>().byte_add(place);
        (*traffic).packets += 1;
        (*traffic).bytes += length as u64;
    }
    if outcome.is(Verdict::ForwardNew) {
        let place = outcome.backend_offset::<{ size_of::<u64>() }>();
        let connections = region::connections().inside(cpu).cast::<u64>();
        // SAFETY: likewise.
        unsafe { *connections.byte_add(place) += 1 };
    }
}

/// The next place in a service's wheel, by this CPU's count.
#[inline(always)]
#[must_use]
pub fn advance(service: u32, length: u32) -> u32 {
    step_advance(service, length) as u32
}

/// A function of its own, for the ways to a new flow are many, and the kernel copies the program
/// for each question after the CPU that it puts into it.
#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_advance(service: u32, length: u32) -> u64 {
    let Some(cpu) = cpu() else {
        return 0;
    };
    let cursor = own(region::cursors(), cpu, service);
    // SAFETY: a cursor of this CPU's own; userspace writes it before the service is there.
    unsafe {
        let next = (*cursor).next;
        let place = if next < u64::from(length) { next } else { 0 };
        (*cursor).next = place + 1;
        place
    }
}
