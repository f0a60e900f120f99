//! Source ports of `full-nat`.
//!
//! A flow's hash gives it two buckets; the slot that it gets in one of them *is* its
//! source address and port, so each direction finds the record by arithmetic.

use super::{Address, Family, Record};
use crate::{flow::BUCKET_SLOTS, hash};

/// Eight source ports of one pool address: a cache line of flow entries, and who they
/// belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct PortBucket {
    /// [`crate::flow::Entry`] words.
    pub entries: [u64; BUCKET_SLOTS],
    /// The flows' clients.
    pub owners: [Owner; BUCKET_SLOTS],
}

/// The client's side of a flow; addresses and ports as they lie in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Owner {
    /// The client's address.
    pub client: Address,
    /// The client's port.
    pub client_port: u16,
    /// The port of the VIP that it speaks to.
    pub vip_port: u16,
    /// The service's number.
    pub service: u32,
}

/// How the slots stand for addresses and ports. IPv4 addresses come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Pool {
    /// The first port of each address, in host byte order.
    pub first_port: u16,
    /// Buckets of one address: its ports by eight.
    pub buckets: u16,
    /// Number of IPv4 addresses.
    pub v4: u16,
    /// Number of IPv6 addresses.
    pub v6: u16,
}

impl Pool {
    /// All buckets.
    #[must_use]
    pub const fn size(self) -> u32 {
        (self.v4 as u32 + self.v6 as u32) * self.buckets as u32
    }

    /// The two buckets in which a flow with this hash may have its port. Of a family that
    /// the pool has no address of, `[u32::MAX; 2]`, which are no buckets.
    #[must_use]
    #[inline(always)]
    pub fn choice(self, hash: u64, family: Family) -> [u32; 2] {
        let each = u32::from(self.buckets);
        let (first, length) = match family {
            Family::V4 => (0, u32::from(self.v4) * each),
            Family::V6 => (u32::from(self.v4) * each, u32::from(self.v6) * each),
        };
        if length == 0 {
            return [u32::MAX; 2];
        }
        let place = |hash| first + hash::reduce(hash, length);
        [place(hash), place(hash.rotate_left(32))]
    }

    /// How many of its addresses are of a family.
    #[must_use]
    #[inline(always)]
    pub const fn addresses(self, family: Family) -> u16 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// In one word, as the data plane's read-only data holds it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.first_port as u64
            | (self.buckets as u64) << 16
            | (self.v4 as u64) << 32
            | (self.v6 as u64) << 48
    }

    /// From the form that [`Pool::bits`] gives.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Pool {
            first_port: bits as u16,
            buckets: (bits >> 16) as u16,
            v4: (bits >> 32) as u16,
            v6: (bits >> 48) as u16,
        }
    }

    /// The bucket of a port of the address at `index`, and the slot in it. `None` for a
    /// port outside the range. The port is in host byte order.
    #[must_use]
    #[inline(always)]
    pub const fn place(self, index: u32, port: u16) -> Option<(u32, u32)> {
        let offset = (port as u32).wrapping_sub(self.first_port as u32);
        if offset >= self.buckets as u32 * 8 {
            return None;
        }
        Some((index * self.buckets as u32 + offset / 8, offset % 8))
    }

    /// The address's index and the port (host byte order) of a slot; the inverse of
    /// [`Pool::place`]. `buckets` isn't 0.
    #[must_use]
    #[inline(always)]
    pub const fn port(self, bucket: u32, slot: u32) -> (u32, u16) {
        let buckets = self.buckets as u32;
        let offset = (bucket % buckets) * 8 + slot;
        (
            bucket / buckets,
            self.first_port.wrapping_add(offset as u16),
        )
    }
}

// SAFETY: the fields' sizes add up to the checked size, so there is no padding; integers
// take every bit pattern.
unsafe impl Record for PortBucket {}
const _: () = assert!(size_of::<Owner>() == 16 + 2 + 2 + 4);
const _: () = assert!(size_of::<PortBucket>() == 64 + 8 * size_of::<Owner>());
const _: () = assert!(size_of::<Pool>() == 8);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_port_outside_the_range_has_no_place() {
        let pool = Pool {
            first_port: 1024,
            buckets: 2,
            v4: 1,
            v6: 1,
        };
        assert_eq!(pool.place(0, 1023), None);
        assert_eq!(pool.place(0, 1024), Some((0, 0)));
        assert_eq!(pool.place(1, 1039), Some((3, 7)));
        assert_eq!(pool.place(1, 1040), None);
        assert_eq!(pool.size(), 4);
        assert_eq!(Pool::from_bits(pool.bits()), pool);
    }

    #[test]
    fn a_family_without_an_address_has_no_choice() {
        let pool = Pool {
            first_port: 1024,
            buckets: 2,
            v4: 0,
            v6: 1,
        };
        assert_eq!(pool.choice(7, Family::V4), [u32::MAX; 2]);
        assert_eq!(Pool::default().choice(7, Family::V6), [u32::MAX; 2]);
    }

    proptest! {
        #[test]
        fn the_choice_lies_among_the_familys_buckets(
            hash: u64, buckets in 1u16..690, v4 in 1u16..32, v6 in 1u16..32,
        ) {
            let pool = Pool { first_port: 1024, buckets, v4, v6 };
            let of_v4 = u32::from(v4) * u32::from(buckets);
            for bucket in pool.choice(hash, Family::V4) {
                prop_assert!(bucket < of_v4);
            }
            for bucket in pool.choice(hash, Family::V6) {
                prop_assert!((of_v4..pool.size()).contains(&bucket));
            }
            // The second one is the first of the hash whose halves are swapped.
            let [first, second] = pool.choice(hash, Family::V6);
            prop_assert_eq!(pool.choice(hash.rotate_left(32), Family::V6), [second, first]);
        }

        #[test]
        fn places_and_ports_are_inverse(
            first_port in 1u16..60_000, buckets in 1u16..690, index in 0u32..64, offset: u16,
        ) {
            let pool = Pool { first_port, buckets, v4: 64, v6: 0 };
            let port = first_port + offset % (buckets * 8);
            let (bucket, slot) = pool.place(index, port).expect("inside");
            prop_assert!(bucket < pool.size());
            prop_assert_eq!(pool.port(bucket, slot), (index, port));
        }
    }
}
