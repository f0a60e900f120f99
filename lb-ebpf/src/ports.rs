//! Flows of `full-nat`: each has a source port of the pool, and its entry lies where that
//! port's place is, so that either direction finds it by arithmetic.

use lb_common::{
    abi::{Owner, Pool},
    flow::{self, BUCKET_SLOTS, Entry, State, Tick},
};

use crate::{
    exact::Exact,
    flow::{Flows, Found, Slot, change, compare_exchange, load},
    ip::{Address, Ip},
    maps::{self, EndpointRef, PortSlot},
    node,
    parse::Flow,
};

/// The home of every flow: a bucket's first slot. A flow may be in either of two buckets, which are
/// searched from there, so it makes for a short search.
const FIRST: usize = 0;

/// The pool's ports.
pub struct Ports;

/// Whether the pool has addresses of this IP version. The verifier knows that, and doesn't
/// look at what no packet comes to.
#[inline(always)]
fn has_any<I: Ip>() -> bool {
    node::pool().addresses(I::FAMILY) != 0
}

/// What a flow's port is found by.
#[derive(Clone, Copy)]
pub struct Key {
    hash: u64,
    owner: Owner,
    buckets: [u32; 2],
}

impl Key {
    #[inline(always)]
    fn fingerprint(&self) -> u64 {
        flow::fingerprint(self.hash)
    }
}

impl<I: Ip> Flows<I> for Ports {
    type Key = Key;
    /// It is in one of its two buckets: which, is asked anew.
    type Room = ();
    const NEEDED: bool = true;

    #[inline(always)]
    fn key(flow: &Flow<I>, service: EndpointRef) -> Key {
        let hash = service.seed().hash(flow.client.folded(), flow.ports());
        Key {
            hash,
            owner: Owner {
                client: flow.client.words(),
                client_port: flow.client_port,
                vip_port: flow.vip_port,
                service: service.number(),
            },
            buckets: node::pool().choice(hash, I::FAMILY),
        }
    }

    #[inline(always)]
    fn hash(key: &Key) -> u64 {
        key.hash
    }

    #[inline(always)]
    fn look(key: &Key) -> Result<Found, ()> {
        if !has_any::<I>() {
            return Err(());
        }
        for bucket in key.buckets {
            if let Some(slot) = find_in(bucket, key) {
                return Ok(Found::at(slot));
            }
        }
        Err(())
    }

    #[inline(always)]
    fn claim(key: &Key, (): (), now: Tick) -> Option<Slot> {
        if !has_any::<I>() {
            return None;
        }
        let bucket = roomier(key.buckets, now);
        let entries = maps::port_bucket(bucket);
        let loaded = |slot| load(entries.cast(), slot);
        let (slot, entry) = flow::victim::<Exact>(loaded, node::reluctance(now), || FIRST)?;
        let slot = node::any(slot as u64) as usize % BUCKET_SLOTS;
        Some(Slot {
            at: PortSlot::of(entries, slot).entry,
            entry,
            number: bucket * 8 + slot as u32,
        })
    }

    #[inline(always)]
    fn enter(key: &Key, slot: Slot, backend: u16, now: Tick, state: State) -> bool {
        let claimed = Entry::claimed(now);
        if !compare_exchange(slot.at, slot.entry.bits(), claimed.bits()) {
            return false;
        }
        let bucket = maps::port_bucket(slot.number / 8);
        PortSlot::of(bucket, slot.number as usize % 8).give(key.owner);
        let entry = Entry::new(key.fingerprint(), backend, now, state);
        compare_exchange(slot.at, claimed.bits(), entry.bits());
        // Another CPU may have entered the flow at the same time: both find the same
        // one first, and the other gives way.
        match <Ports as Flows<I>>::find(key) {
            Some(first) if first.number != slot.number => {
                compare_exchange(slot.at, entry.bits(), Entry::EMPTY.bits());
                false
            }
            _ => true,
        }
    }

    #[inline(always)]
    fn change(slot: Slot, to: Entry) {
        change(slot, to);
    }
}

/// That of two buckets which has more room, so that neither is full before nearly all are. As
/// one number, of which the verifier follows one on.
#[inline(always)]
fn roomier([first, second]: [u32; 2], now: Tick) -> u32 {
    let (free, other) = (free(first), free(second));
    let is_second = if free | other == 0 {
        reluctance(second, now) < reluctance(first, now)
    } else {
        other > free
    };
    node::any(u64::from(if is_second { second } else { first })) as u32
}

/// How many slots of a bucket hold no flow. Which do is chance: no branch asks.
#[inline(always)]
fn free(bucket: u32) -> u64 {
    let entries = maps::port_bucket(bucket);
    let mut free = 0;
    for slot in 0..BUCKET_SLOTS {
        free += load(entries.cast(), slot).empty_bit();
    }
    free
}

/// How reluctantly a bucket without a free slot gives any.
#[inline(always)]
fn reluctance(bucket: u32, now: Tick) -> u64 {
    let entries = maps::port_bucket(bucket);
    let reluctance = node::reluctance(now);
    let mut sum = 0;
    for slot in 0..BUCKET_SLOTS {
        sum += reluctance(load(entries.cast(), slot));
    }
    sum
}

/// The flow's slot in one of its buckets.
#[inline(always)]
fn find_in(bucket: u32, key: &Key) -> Option<Slot> {
    let entries = maps::port_bucket(bucket);
    let load = |slot| load(entries.cast(), slot);
    let (slot, entry) = flow::find_with::<Exact>(load, key.fingerprint())?;
    let slot = node::any(slot as u64) as usize % 8;
    let place = PortSlot::of(entries, slot);
    // A client with the same fingerprint is one in 2^38.
    (entry.backend() != 0 && place.owner() == key.owner).then_some(Slot {
        at: place.entry,
        entry,
        number: bucket * 8 + slot as u32,
    })
}

/// A flow that has a source port.
#[derive(Clone, Copy)]
pub struct Held {
    /// Its entry.
    pub slot: Slot,
    /// Its client's side.
    pub owner: Owner,
}

/// The flow whose source port is `port` (host byte order) of the pool's address at
/// `index`.
#[inline(always)]
#[must_use]
pub fn held(index: u32, port: u16) -> Option<Held> {
    let (bucket, slot) = node::pool().place(index, port)?;
    at(bucket * 8 + slot)
}

/// The flow whose source port has this number.
#[inline(always)]
#[must_use]
pub fn at(number: u32) -> Option<Held> {
    let bucket = maps::port_bucket(number / 8);
    let place = PortSlot::of(bucket, number as usize % 8);
    let entry = load(bucket.cast(), number as usize % 8);
    if entry.backend() == 0 {
        return None;
    }
    let slot = Slot {
        at: place.entry,
        entry,
        number,
    };
    let owner = place.owner();
    Some(Held { slot, owner })
}

/// Address and port (as it lies in a packet) of the port with this number.
#[inline(always)]
#[must_use]
pub fn socket<A: Address>(number: u32) -> Option<(A, u16)> {
    let pool: Pool = node::pool();
    if pool.buckets == 0 {
        return None;
    }
    let (index, port) = pool.port(number / 8, number % 8);
    Some((maps::pool_address(index), port.to_be()))
}

/// An owner's client.
#[inline(always)]
#[must_use]
pub fn client<A: Address>(owner: &Owner) -> A {
    A::of_words(owner.client)
}
