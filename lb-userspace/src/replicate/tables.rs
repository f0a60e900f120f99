//! The two tables that are replicated, as memory that the data plane shares.

use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::{
    abi::{Bucket, PortBucket},
    flow::{BUCKET_SLOTS, Entry},
};

use crate::datapath::memory::Shared;

/// Words of an [`lb_common::abi::Owner`].
const OWNER: usize = 3;
/// The service's number lies in the highest half of an owner's last word.
const SERVICE_SHIFT: u32 = 32;

/// Who a port belongs to: the words of an [`lb_common::abi::Owner`].
pub type OwnerWords = [u64; OWNER];

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The flow table.
    Flows = 0,
    /// `full-nat`'s ports, whose slots have owners.
    Ports = 1,
}

impl Which {
    /// Both.
    pub const ALL: [Which; 2] = [Which::Flows, Which::Ports];
}

/// A slot and what it is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// The table.
    pub table: Which,
    /// Bucket × 8 + slot.
    pub slot: u32,
    /// The [`Entry`]; 0 is none.
    pub word: u64,
    /// Who a port belongs to; none for an empty slot and in the flow table.
    pub owner: Option<OwnerWords>,
}

/// The words of one table.
#[derive(Clone, Copy)]
pub struct View<'a> {
    words: &'a [AtomicU64],
    /// Words from one bucket to the next; its entries come first.
    stride: usize,
}

impl<'a> View<'a> {
    /// Slots.
    #[must_use]
    pub fn slots(self) -> usize {
        self.words.len() / self.stride * BUCKET_SLOTS
    }

    /// The entries of a bucket.
    #[inline(always)]
    pub(super) fn bucket(self, bucket: usize) -> &'a [AtomicU64; BUCKET_SLOTS] {
        let start = bucket * self.stride;
        self.words[start..start + BUCKET_SLOTS]
            .try_into()
            .expect("that many")
    }

    /// The entry in a slot.
    pub(super) fn entry(self, slot: usize) -> &'a AtomicU64 {
        &self.bucket(slot / BUCKET_SLOTS)[slot % BUCKET_SLOTS]
    }

    fn owner(self, slot: usize) -> &'a [AtomicU64] {
        let start = slot / BUCKET_SLOTS * self.stride + BUCKET_SLOTS;
        &self.words[start + slot % BUCKET_SLOTS * OWNER..][..OWNER]
    }
}

/// The flow table and `full-nat`'s ports.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    views: [View<'a>; 2],
}

impl<'a> Tables<'a> {
    /// These tables.
    #[must_use]
    pub fn new(flows: &'a Shared<Bucket>, ports: &'a Shared<PortBucket>) -> Self {
        let flows = View {
            words: flows.words(),
            stride: BUCKET_SLOTS,
        };
        let ports = View {
            words: ports.words(),
            stride: size_of::<PortBucket>() / size_of::<u64>(),
        };
        Tables {
            views: [flows, ports],
        }
    }

    /// One of them.
    #[must_use]
    pub fn of(&self, table: Which) -> View<'a> {
        self.views[table as usize]
    }

    /// What a slot holds now. `None` while the data plane is changing it: it will be another soon.
    pub(super) fn read(&self, table: Which, slot: usize) -> Option<(u64, Option<OwnerWords>)> {
        let view = self.of(table);
        let word = view.entry(slot).load(Ordering::Acquire);
        if is_claimed(word) {
            return None;
        }
        if table == Which::Flows || word == 0 {
            return Some((word, None));
        }
        let words = view.owner(slot);
        let owner = std::array::from_fn(|i| words[i].load(Ordering::Acquire));
        // The owner is written while the slot is claimed, so it belongs to the entry if that stayed.
        (view.entry(slot).load(Ordering::Acquire) == word).then_some((word, Some(owner)))
    }

    /// Does it, so that the data plane never sees an entry beside another's owner. Slots that
    /// aren't there are left out.
    pub fn apply(&self, write: &Write) {
        let (view, slot) = (self.of(write.table), write.slot as usize);
        if slot >= view.slots() {
            return;
        }
        let entry = view.entry(slot);
        if let (Which::Ports, Some(owner)) = (write.table, write.owner) {
            let age = Entry::from_bits(write.word).age();
            entry.store(Entry::claimed(age).bits(), Ordering::Release);
            for (word, value) in view.owner(slot).iter().zip(owner) {
                word.store(value, Ordering::Release);
            }
        }
        entry.store(write.word, Ordering::Release);
    }
}

/// Whether the data plane holds this slot while it writes an owner.
#[inline(always)]
pub(super) fn is_claimed(word: u64) -> bool {
    word != 0 && Entry::from_bits(word).backend() == 0
}

/// The number of an owner's service.
pub(super) fn service(owner: &OwnerWords) -> u32 {
    (owner[2] >> SERVICE_SHIFT) as u32
}

/// The same owner of another service.
pub(super) fn of_service(owner: OwnerWords, service: u32) -> OwnerWords {
    let low = owner[2] & ((1 << SERVICE_SHIFT) - 1);
    [
        owner[0],
        owner[1],
        low | u64::from(service) << SERVICE_SHIFT,
    ]
}

#[cfg(test)]
mod tests {
    use lb_common::{
        abi::{Owner, ipv4},
        flow::State,
    };

    use super::*;

    #[test]
    fn an_owners_words_lie_where_the_data_plane_has_them() {
        let (flows, ports) = (Shared::zeroed(1), Shared::<PortBucket>::zeroed(2));
        let tables = Tables::new(&flows, &ports);
        let mut record = ports.load(1);
        record.owners[5] = Owner {
            client: ipv4([192, 0, 2, 7]),
            client_port: 4_000,
            vip_port: 80,
            service: 11,
        };
        record.entries[5] = Entry::new(77, 3, 9, State::New).bits();
        ports.store(1, &record);
        let (word, owner) = tables.read(Which::Ports, 13).expect("not claimed");
        assert_eq!(word, record.entries[5]);
        assert_eq!(service(&owner.expect("an owner")), 11);

        let owner = of_service(owner.expect("an owner"), 12);
        let word = Entry::new(78, 4, 9, State::Established).bits();
        tables.apply(&Write {
            table: Which::Ports,
            slot: 2,
            word,
            owner: Some(owner),
        });
        let there = ports.load(0);
        let expected = Owner {
            service: 12,
            ..record.owners[5]
        };
        assert_eq!((there.entries[2], there.owners[2]), (word, expected));
        assert_eq!(there.owners[1].service, 0);
    }

    #[test]
    fn a_claimed_slot_is_not_read() {
        let (flows, ports) = (Shared::zeroed(1), Shared::<PortBucket>::zeroed(1));
        let tables = Tables::new(&flows, &ports);
        ports.record(0)[3].store(Entry::claimed(200).bits(), Ordering::Relaxed);
        assert_eq!(tables.read(Which::Ports, 3), None);
        assert_eq!(tables.read(Which::Ports, 4), Some((0, None)));
        // A slot that isn't there.
        tables.apply(&Write {
            table: Which::Flows,
            slot: 8,
            word: 1 << 10,
            owner: None,
        });
        assert_eq!(tables.read(Which::Flows, 0), Some((0, None)));
    }
}
