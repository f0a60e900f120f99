use core::ptr;

use lb_common::{
    abi::{Owner, PortBucket},
    flow::BUCKET_SLOTS,
};

use super::{region, word};
use crate::{ip::Address, node};

/// A bucket of source ports, of a number modulo how many there is memory for.
#[inline(always)]
#[must_use]
pub fn port_bucket(index: u32) -> *mut PortBucket {
    region::ports().inside(u64::from(index) & node::port_mask())
}

/// The pool's address at `index`.
#[inline(always)]
#[must_use]
pub fn pool_address<A: Address>(index: u32) -> A {
    A::load(region::pool().at(index))
}

/// One source port: where its entry and its owner lie.
#[derive(Clone, Copy)]
pub struct PortSlot {
    /// The entry's word.
    pub entry: *mut u64,
    owner: *mut Owner,
}

impl PortSlot {
    /// A slot of a bucket, modulo their number.
    #[inline(always)]
    #[must_use]
    pub fn of(bucket: *mut PortBucket, slot: usize) -> Self {
        let slot = slot & (BUCKET_SLOTS - 1);
        // SAFETY: the mask keeps the slot inside the bucket, whose entries come first.
        let entry = unsafe { bucket.cast::<u64>().add(slot) };
        // SAFETY: likewise; the owners come behind the entries.
        let owner = unsafe {
            bucket
                .cast::<u64>()
                .add(BUCKET_SLOTS)
                .cast::<Owner>()
                .add(slot)
        };
        PortSlot { entry, owner }
    }

    /// Who the port belongs to.
    #[inline(always)]
    #[must_use]
    pub fn owner(self) -> Owner {
        let last = word!(self.owner, 2);
        let (first, second) = (word!(self.owner, 0), word!(self.owner, 1));
        Owner {
            client: [
                first as u32,
                (first >> 32) as u32,
                second as u32,
                (second >> 32) as u32,
            ],
            client_port: last as u16,
            vip_port: (last >> 16) as u16,
            service: (last >> 32) as u32,
        }
    }

    /// Gives the port to another owner. Only for whoever has claimed its entry.
    #[inline(always)]
    pub fn give(self, owner: Owner) {
        let [a, b, c, d] = owner.client.map(u64::from);
        let last = u64::from(owner.client_port)
            | u64::from(owner.vip_port) << 16
            | u64::from(owner.service) << 32;
        let words = self.owner.cast::<u64>();
        // SAFETY: the three words of an owner in the map, which is aligned; whoever reads
        // them compares all, and finds the entry claimed until they are written.
        unsafe {
            ptr::write_volatile(words, a | b << 32);
            ptr::write_volatile(words.add(1), c | d << 32);
            ptr::write_volatile(words.add(2), last);
        }
    }
}

const _: () = assert!(core::mem::offset_of!(PortBucket, owners) == 8 * BUCKET_SLOTS);
const _: () = assert!(core::mem::offset_of!(Owner, client_port) == 16);
const _: () = assert!(core::mem::offset_of!(Owner, service) == 20);
