//! Addresses as they lie in a packet.

use core::ptr;

use lb_common::{abi, checksum::Delta};

use crate::{
    maps::Destination,
    node,
    packet::{Window, opaque},
};

/// An address as it lies in a packet.
pub trait Address: Copy + PartialEq + Destination {
    /// No address.
    const NONE: Self;

    /// From a map record: the address that lies there, aligned to eight bytes.
    fn load(at: *const abi::Address) -> Self;
    /// From the words of a map record.
    fn of_words(words: abi::Address) -> Self;
    /// In the words of a map record.
    fn words(self) -> abi::Address;
    /// In one word, for the hash of a flow.
    fn folded(self) -> u64;
    /// Whether it can be one host's address: of a machine that isn't this one.
    fn is_one_host(self) -> bool;
    /// Its first `bits` bits, the others 0.
    fn prefix(self, bits: u8) -> Self;
}

impl Address for u32 {
    const NONE: u32 = 0;

    #[inline(always)]
    fn of_words([address, ..]: abi::Address) -> Self {
        address
    }

    #[inline(always)]
    fn load(at: *const abi::Address) -> Self {
        // SAFETY: a field of a record in a map, which is aligned and lives as long as the
        // program.
        unsafe { ptr::read_volatile(at.cast()) }
    }

    #[inline(always)]
    fn words(self) -> abi::Address {
        [self, 0, 0, 0]
    }

    #[inline(always)]
    fn folded(self) -> u64 {
        u64::from(self)
    }

    /// Not 0.0.0.0/8, not 127.0.0.0/8, and neither multicast nor beyond it (RFC 1122
    /// section 3.2.1.3).
    #[inline(always)]
    fn is_one_host(self) -> bool {
        let first = u32::from_be(self) >> 24;
        first != 0 && first != 127 && first < 224
    }

    #[inline(always)]
    fn prefix(self, bits: u8) -> Self {
        self & mask(bits) as u32
    }
}

/// An IPv6 address, as it lies in a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Six {
    /// Its first eight bytes.
    pub high: u64,
    /// Its last eight bytes.
    pub low: u64,
}

impl Six {
    /// The address at byte `AT` of a header.
    #[inline(always)]
    #[must_use]
    pub fn load<const LEN: usize, const AT: usize>(header: Window<LEN>) -> Self {
        let (high, low) = header.load_pair::<AT>();
        Six { high, low }
    }

    /// The address at byte `AT` of a header, [folded](Address::folded). Loads of four bytes take
    /// fewer instructions than those of eight that are taken apart.
    #[inline(always)]
    #[must_use]
    pub fn load_folded<const LEN: usize, const AT: usize>(header: Window<LEN>) -> u64 {
        let address = header.rest::<AT, 16>();
        node::fold_keys().fold([
            address.load::<u32, 0>(),
            address.load::<u32, 4>(),
            address.load::<u32, 8>(),
            address.load::<u32, 12>(),
        ])
    }

    /// The address at byte `AT` of a header, read only if it is used.
    #[inline(always)]
    #[must_use]
    pub fn peek<const LEN: usize, const AT: usize>(header: Window<LEN>) -> Self {
        let address = header.rest::<AT, 16>();
        Six {
            high: address.peek::<u64, 0>(),
            low: address.peek::<u64, 8>(),
        }
    }

    /// Writes the address to byte `AT` of a header.
    #[inline(always)]
    pub fn store<const LEN: usize, const AT: usize>(self, header: Window<LEN>) {
        header.store_pair::<AT>((self.high, self.low));
    }

    /// Writes the address to byte `AT` of a header; `delta` and the difference that this makes.
    #[inline(always)]
    #[must_use]
    pub fn replace<const LEN: usize, const AT: usize>(
        self,
        header: Window<LEN>,
        delta: Delta,
    ) -> Delta {
        let old = header.rest::<AT, 16>();
        // Loads of four bytes take fewer instructions than those of eight that are taken apart.
        let old = [
            old.load::<u32, 0>(),
            old.load::<u32, 4>(),
            old.load::<u32, 8>(),
            old.load::<u32, 12>(),
        ];
        self.store::<LEN, AT>(header);
        // Where both ends change, both addresses wouldn't have room on the stack.
        delta.eight(old, self.words()).through(opaque)
    }
}

/// The first `bits` of eight bytes, all if it is more, as they lie in a packet. Of
/// IPv4 the first four are meant.
#[inline(always)]
fn mask(bits: u8) -> u64 {
    match bits {
        0 => 0,
        1..64 => (u64::MAX << (64 - u32::from(bits))).to_be(),
        _ => u64::MAX,
    }
}

/// ::1, the last eight bytes.
const LOOPBACK: u64 = 1u64.to_be();

impl Address for Six {
    const NONE: Six = Six { high: 0, low: 0 };

    #[inline(always)]
    fn of_words([a, b, c, d]: abi::Address) -> Self {
        Six {
            high: u64::from(a) | u64::from(b) << 32,
            low: u64::from(c) | u64::from(d) << 32,
        }
    }

    #[inline(always)]
    fn load(at: *const abi::Address) -> Self {
        let at = at.cast::<u64>();
        // SAFETY: as above.
        let (high, low) = unsafe { (ptr::read_volatile(at), ptr::read_volatile(at.add(1))) };
        Six { high, low }
    }

    #[inline(always)]
    fn words(self) -> abi::Address {
        [
            self.high as u32,
            (self.high >> 32) as u32,
            self.low as u32,
            (self.low >> 32) as u32,
        ]
    }

    #[inline(always)]
    fn folded(self) -> u64 {
        node::fold_keys().fold(self.words())
    }

    /// Neither ::, ::1 nor multicast (RFC 4291 section 2).
    #[inline(always)]
    fn is_one_host(self) -> bool {
        let special = self.high == 0 && (self.low == 0 || self.low == LOOPBACK);
        !special && self.high as u8 != 0xff
    }

    #[inline(always)]
    fn prefix(self, bits: u8) -> Self {
        Six {
            high: self.high & mask(bits),
            low: self.low & mask(bits.saturating_sub(64)),
        }
    }
}
