//! The reference: flows in the kernel's LRU hash, as other load balancers keep them.

use core::ptr;

use aya_ebpf::{macros::map, maps::LruHashMap};
use lb_common::{
    flow::{Entry, State, Tick},
    hash,
};
use lb_ebpf::{
    flow::{Flows, Found, Slot},
    ip::{Address, Ip},
    maps::EndpointRef,
    parse::Flow,
};

#[map]
static LRU: LruHashMap<Key, u64> = LruHashMap::with_max_entries(1 << 20, 0);

/// The 5-tuple in the 16 bytes that such tables use.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Key {
    client: u32,
    vip: u32,
    client_port: u16,
    vip_port: u16,
    protocol: u32,
}

/// The kernel's hash table with a list of the least recently used, for services in `dsr`.
pub struct Lru;

impl<I: Ip> Flows<I> for Lru {
    type Key = Key;
    type Room = ();
    const NEEDED: bool = false;

    #[inline(always)]
    fn key(flow: &Flow<I>, service: EndpointRef) -> Key {
        Key {
            client: flow.client.words()[0],
            vip: service.address::<u32>(),
            client_port: flow.client_port,
            vip_port: flow.vip_port,
            protocol: u32::from(service.protocol()),
        }
    }

    /// Only wheels are indexed by it here, so the cheaper one will do.
    #[inline(always)]
    fn hash(key: &Key) -> u64 {
        hash::endpoint([key.client, 0, 0, 0], u32::from(key.client_port))
    }

    #[inline(always)]
    fn look(key: &Key) -> Result<Found, ()> {
        let at = LRU.get_ptr_mut(key).ok_or(())?;
        // SAFETY: a value of the map, aligned, and written only whole.
        let entry = Entry::from_bits(unsafe { ptr::read_volatile(at) });
        Ok(Found::at(Slot {
            at,
            entry,
            number: 0,
        }))
    }

    /// The kernel makes room itself when a flow is entered.
    #[inline(always)]
    fn claim(_key: &Key, (): (), _now: Tick) -> Option<Slot> {
        Some(Slot {
            at: ptr::null_mut(),
            entry: Entry::EMPTY,
            number: 0,
        })
    }

    #[inline(always)]
    fn enter(key: &Key, _slot: Slot, backend: u16, now: Tick, state: State) -> bool {
        let entry = Entry::new(0, backend, now, state);
        LRU.insert(key, entry.bits(), 0).is_ok()
    }

    #[inline(always)]
    fn change(slot: Slot, to: Entry) {
        if to != slot.entry {
            // SAFETY: as for `find`.
            unsafe { ptr::write_volatile(slot.at, to.bits()) };
        }
    }
}
