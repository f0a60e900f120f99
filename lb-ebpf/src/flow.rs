//! Where flows are remembered.

use lb_common::{
    flow::{self, Entry, State, Tick},
    hash::Seed,
};

use crate::{maps, node, parse::Flow};

/// A flow's place in memory, and what it held when it was read.
#[derive(Clone, Copy)]
pub struct Slot {
    /// The place.
    pub at: *mut u64,
    /// What it held.
    pub entry: Entry,
}

/// A place where flows are remembered. One is the product's; others are measured
/// beside it.
pub trait Flows {
    /// What a flow is found by.
    type Key;

    /// The key of a segment's flow, of the service with this seed.
    fn key(flow: Flow, seed: Seed) -> Self::Key;
    /// The flow's hash.
    fn hash(key: &Self::Key) -> u64;
    /// The flow's entry, if it is known.
    fn find(key: &Self::Key) -> Option<Slot>;
    /// A place for a new flow, if there is one.
    fn claim(key: &Self::Key, now: Tick) -> Option<Slot>;
    /// Enters a new flow in a claimed place. False when another CPU was faster.
    fn enter(key: &Self::Key, slot: Slot, backend: u16, now: Tick, state: State) -> bool;
    /// Changes a known flow's entry.
    fn change(slot: Slot, to: Entry);
}

/// The flow table: an array of cache lines, indexed by the flow's hash.
pub struct Table;

impl Flows for Table {
    type Key = u64;

    #[inline(always)]
    fn key(flow: Flow, seed: Seed) -> u64 {
        seed.hash(flow.client, flow.client_port)
    }

    #[inline(always)]
    fn hash(key: &u64) -> u64 {
        *key
    }

    #[inline(always)]
    fn find(key: &u64) -> Option<Slot> {
        let (bucket, fingerprint) = flow::place(*key, node::flow_shift());
        let entries = maps::flow_bucket(bucket)?.cast::<u64>();
        flow::find(|slot| load(entries, slot), fingerprint).map(|(slot, entry)| Slot {
            at: at(entries, slot),
            entry,
        })
    }

    #[inline(always)]
    fn claim(key: &u64, now: Tick) -> Option<Slot> {
        let (bucket, _) = flow::place(*key, node::flow_shift());
        let entries = maps::flow_bucket(bucket)?.cast::<u64>();
        flow::victim(|slot| load(entries, slot), now, node::timeouts()).map(|(slot, entry)| Slot {
            at: at(entries, slot),
            entry,
        })
    }

    #[inline(always)]
    fn enter(key: &u64, slot: Slot, backend: u16, now: Tick, state: State) -> bool {
        let (_, fingerprint) = flow::place(*key, node::flow_shift());
        let entry = Entry::new(fingerprint, backend, now, state);
        compare_exchange(slot.at, slot.entry.bits(), entry.bits())
    }

    #[inline(always)]
    fn change(slot: Slot, to: Entry) {
        // A busy flow's entry stays as it is within a tick, and its line shared.
        if to != slot.entry {
            // Another CPU that was faster wrote the same or something newer.
            compare_exchange(slot.at, slot.entry.bits(), to.bits());
        }
    }
}

#[inline(always)]
fn at(entries: *mut u64, slot: usize) -> *mut u64 {
    // SAFETY: `entries` is a bucket of the map, and the rules give slots inside it;
    // the mask shows the verifier so.
    unsafe { entries.add(slot & (flow::BUCKET_SLOTS - 1)) }
}

#[inline(always)]
fn load(entries: *mut u64, slot: usize) -> Entry {
    // SAFETY: inside a bucket of the map, as for `at`; others write such words only
    // whole.
    Entry::from_bits(unsafe { core::ptr::read_volatile(at(entries, slot)) })
}

/// Whether the word was `old`, and so is `new` now.
#[inline(always)]
fn compare_exchange(at: *mut u64, old: u64, new: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    // SAFETY: `at` points into a map's array, is aligned, and is only written atomically.
    // The intrinsic is what AtomicU64 would call, if the target declared it.
    unsafe {
        use core::intrinsics::{AtomicOrdering, atomic_cxchg};
        let (found, _) = atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
            at, old, new,
        );
        found == old
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as above.
    unsafe {
        use core::sync::atomic::{AtomicU64, Ordering};
        AtomicU64::from_ptr(at)
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}
