//! Where flows are remembered.

use core::ptr;

use lb_common::flow::{self, Entry, State, Tick};

use crate::{
    exact::Exact,
    ip::{Address, Ip},
    maps::{self, BackendRef, EndpointRef},
    node,
    packet::opaque,
    parse::{Flow, Reading},
};

/// A flow's place in memory, and what it held when it was read.
#[derive(Clone, Copy)]
pub struct Slot {
    /// The place.
    pub at: *mut u64,
    /// What it held.
    pub entry: Entry,
    /// The place's number, where that means something: bucket × 8 + slot.
    pub number: u32,
}

/// A flow that was found, and what there is to know of its place.
#[derive(Clone, Copy)]
pub struct Found {
    /// Its entry, as it was read.
    pub entry: Entry,
    /// See [`Slot::number`].
    pub number: u32,
    at: *mut u64,
    slot: usize,
}

impl Found {
    /// The flow in this place.
    #[inline(always)]
    #[must_use]
    pub fn at(slot: Slot) -> Self {
        Found {
            entry: slot.entry,
            number: slot.number,
            at: slot.at,
            slot: 0,
        }
    }
}

/// A place where flows of one IP version are remembered.
pub trait Flows<I: Ip> {
    /// What a flow is found by.
    type Key;
    /// Where a flow that isn't known would be.
    type Room;
    /// Whether a flow can't be forwarded without an entry.
    const NEEDED: bool;

    /// The key of a flow. `endpoint` is the record that has its seed: its service's, or for
    /// [`Table`] its server's.
    fn key(flow: &Flow<I>, endpoint: EndpointRef) -> Self::Key;
    /// That of a segment's flow to the VIP.
    #[inline(always)]
    fn key_of<R: Reading<I>>(segment: &R, endpoint: EndpointRef) -> Self::Key {
        Self::key(&segment.flow(), endpoint)
    }
    /// That of the flow that a segment from a server is in, which is this backend in it.
    #[inline(always)]
    fn key_back<R: Reading<I>>(
        segment: &R,
        backend: BackendRef,
        endpoint: EndpointRef,
    ) -> Self::Key {
        let flow = segment.flow_back();
        let vip_port = backend.spoken_from(flow.vip_port);
        Self::key(&Flow { vip_port, ..flow }, endpoint)
    }
    /// The flow's hash.
    fn hash(key: &Self::Key) -> u64;
    /// The flow, or where it would be.
    fn look(key: &Self::Key) -> Result<Found, Self::Room>;
    /// The flow, if it is known.
    #[inline(always)]
    fn find(key: &Self::Key) -> Option<Found> {
        Self::look(key).ok()
    }
    /// Whether most flows are in their [homes](flow::home_shift).
    const HAS_HOMES: bool = false;
    /// The entry of a flow that is known and in its home. Perhaps also one that is
    /// [empty](Entry::EMPTY): who asks looks at its backend.
    #[inline(always)]
    fn at_home(_: &Self::Key) -> Option<Entry> {
        None
    }
    /// Whether a flow is in its home, with that backend, and a packet of the server's leaves its entry
    /// as it is, see [`flow::is_settled_with`].
    #[inline(always)]
    fn is_settled_at_home(_: &Self::Key, _: BackendRef, _: Tick, _: impl FnOnce() -> u8) -> bool {
        false
    }
    /// A found flow's place, to change it.
    #[inline(always)]
    fn slot(found: Found) -> Slot {
        Slot {
            at: found.at,
            entry: found.entry,
            number: found.number,
        }
    }
    /// A place for a new flow, if there is one.
    fn claim(key: &Self::Key, room: Self::Room, now: Tick) -> Option<Slot>;
    /// Enters a new flow in a claimed place. False when another CPU was faster.
    fn enter(key: &Self::Key, slot: Slot, backend: u16, now: Tick, state: State) -> bool;
    /// Changes a known flow's entry.
    fn change(slot: Slot, to: Entry);
}

/// The flow table: an array of cache lines, indexed by the flow's hash.
pub struct Table;

impl<I: Ip> Flows<I> for Table {
    type Key = u64;
    /// Its bucket.
    type Room = *mut u64;
    const NEEDED: bool = false;
    const HAS_HOMES: bool = true;

    #[inline(always)]
    fn key(flow: &Flow<I>, endpoint: EndpointRef) -> u64 {
        // First: what the seed is loaded into is needed for it.
        let client = flow.client.folded();
        endpoint.seed().hash(client, flow.ports())
    }

    #[inline(always)]
    fn key_of<R: Reading<I>>(segment: &R, endpoint: EndpointRef) -> u64 {
        let (client, ports) = segment.folded();
        endpoint.seed().hash(client, ports)
    }

    #[inline(always)]
    fn key_back<R: Reading<I>>(segment: &R, backend: BackendRef, endpoint: EndpointRef) -> u64 {
        let (client, client_port, vip_port) = segment.folded_back();
        let vip_port = backend.spoken_from(vip_port);
        let ports = u32::from(client_port) | u32::from(vip_port) << 16;
        endpoint.seed().hash(client, ports)
    }

    #[inline(always)]
    fn hash(key: &u64) -> u64 {
        *key
    }

    #[inline(always)]
    fn look(key: &u64) -> Result<Found, *mut u64> {
        let entries = bucket(*key);
        let load = |slot| load(entries, slot);
        let found = flow::find_with::<Exact>(load, flow::fingerprint(*key));
        let (slot, entry) = found.ok_or(entries)?;
        Ok(Found {
            entry,
            number: 0,
            at: entries,
            slot,
        })
    }

    #[inline(always)]
    fn at_home(key: &u64) -> Option<Entry> {
        let (entry, fingerprint) = home(*key);
        entry.is(fingerprint).then_some(entry)
    }

    #[inline(always)]
    fn is_settled_at_home(
        key: &u64,
        backend: BackendRef,
        now: Tick,
        flags: impl FnOnce() -> u8,
    ) -> bool {
        let (entry, fingerprint) = home(*key);
        flow::is_settled_with(entry, fingerprint, backend.number(), now, flags)
    }

    /// Most packets change nothing: only for others the verifier is to forget which of the
    /// bucket's slots it is.
    #[inline(always)]
    fn slot(found: Found) -> Slot {
        slot(found.at, (found.slot, found.entry))
    }

    #[inline(always)]
    fn claim(key: &u64, entries: *mut u64, now: Tick) -> Option<Slot> {
        let (load, home) = (|slot| load(entries, slot), || home_number(*key) as usize);
        flow::victim::<Exact>(load, node::reluctance(now), home).map(|victim| slot(entries, victim))
    }

    #[inline(always)]
    fn enter(key: &u64, slot: Slot, backend: u16, now: Tick, state: State) -> bool {
        let entry = Entry::new(flow::fingerprint(*key), backend, now, state);
        compare_exchange(slot.at, slot.entry.bits(), entry.bits())
    }

    #[inline(always)]
    fn change(slot: Slot, to: Entry) {
        change(slot, to);
    }
}

/// What a flow's home holds, and the flow's fingerprint.
#[inline(always)]
fn home(key: u64) -> (Entry, u64) {
    // Opaque, or the compiler keeps on the stack what else is to be looked for later.
    let key = opaque(key);
    let entry = load(maps::flow_slot(home_number(key)), 0);
    (entry, flow::fingerprint(key))
}

/// The number of a flow's home: its bucket's × 8 + the slot in it.
#[inline(always)]
fn home_number(hash: u64) -> u64 {
    node::shifted(hash, node::home_shift())
}

/// The bucket of a flow.
#[inline(always)]
fn bucket(hash: u64) -> *mut u64 {
    maps::flow_slot(home_number(hash) & !(flow::BUCKET_SLOTS as u64 - 1))
}

#[inline(always)]
fn slot(entries: *mut u64, (slot, entry): (usize, Entry)) -> Slot {
    Slot {
        // Opaque: worked out here, so that the bucket needn't be kept.
        at: opaque(at(entries, node::any(slot as u64) as usize) as u64) as *mut u64,
        entry,
        number: 0,
    }
}

/// Writes a known flow's entry, unless it is the same: a busy flow's entry stays as it is
/// within a tick, and its line shared.
#[inline(always)]
pub fn change(slot: Slot, to: Entry) {
    if to != slot.entry {
        // Another CPU that was faster wrote the same or something newer.
        compare_exchange(slot.at, slot.entry.bits(), to.bits());
    }
}

#[inline(always)]
fn at(entries: *mut u64, slot: usize) -> *mut u64 {
    // SAFETY: `entries` is a bucket of the map, and the rules give slots inside it;
    // the mask shows the verifier so.
    unsafe { entries.add(slot & (flow::BUCKET_SLOTS - 1)) }
}

/// The entry in a slot of a bucket, counted from `entries` on.
#[inline(always)]
#[must_use]
pub fn load(entries: *mut u64, slot: usize) -> Entry {
    // SAFETY: inside a bucket of the map, as for `at`; others write such words only
    // whole.
    Entry::from_bits(unsafe { ptr::read_volatile(at(entries, slot)) })
}

/// Whether the word was `old`, and so is `new` now. `at` is in a map.
#[inline(always)]
#[allow(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the verifier checks what is in a map"
)]
pub fn compare_exchange(at: *mut u64, old: u64, new: u64) -> bool {
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
