//! IPv6 extension headers (RFC 8200 section 4).

use lb_common::limits::{MAX_EXTENSION_HEADERS, MAX_EXTENSION_LENGTH};

use crate::packet::{Context, MAX_OFFSET, Packet};

/// Protocol number of ICMPv6.
pub const ICMP: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// What every extension header has at least.
const LEAST: usize = 8;

/// Where a chain of extension headers leads. All fields are always set.
#[derive(Clone, Copy)]
pub struct Chain {
    /// What comes behind them.
    pub protocol: u8,
    /// Where in the frame.
    pub l4: usize,
    /// Whether it is a fragment with others behind it.
    pub is_first: bool,
    /// Whether it is a fragment with others before it; then the chain ends with its
    /// fragment header.
    pub is_later: bool,
    /// Fragment: its packet's identification, as it lies in the packet.
    pub id: u32,
    /// Whether it isn't followed.
    pub is_refused: bool,
    /// Whether that is because it ends beyond its packet.
    pub is_malformed: bool,
}

impl Chain {
    /// One that leads nowhere.
    pub const NONE: Chain = Chain {
        protocol: 0,
        l4: 0,
        is_first: false,
        is_later: false,
        id: 0,
        is_refused: false,
        is_malformed: false,
    };
}

impl Chain {
    #[inline(always)]
    fn word(self) -> u64 {
        u64::from(self.protocol)
            | (self.l4 as u64 & MAX_OFFSET as u64) << 8
            | u64::from(self.is_first) << 20
            | u64::from(self.is_later) << 21
            | u64::from(self.is_refused) << 22
            | u64::from(self.is_malformed) << 23
            | u64::from(self.id) << 32
    }

    #[inline(always)]
    fn from_word(word: u64) -> Self {
        let flag = |bit: u32| word >> bit & 1 != 0;
        Chain {
            protocol: word as u8,
            l4: (word >> 8) as usize & MAX_OFFSET,
            is_first: flag(20),
            is_later: flag(21),
            is_refused: flag(22),
            is_malformed: flag(23),
            id: (word >> 32) as u32,
        }
    }
}

/// Follows the headers from `at` in the frame, the first of which is a `next`, as far as
/// `end`, where the packet ends.
#[inline(always)]
#[must_use]
pub fn follow(packet: &Packet, at: usize, next: u8, end: usize) -> Chain {
    let next = u64::from(next);
    Chain::from_word(step_extensions(
        packet.context(),
        at as u64,
        next,
        end as u64,
    ))
}

/// By itself, so that the verifier looks at it once.
#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_extensions(context: Context, at: u64, next: u64, end: u64) -> u64 {
    followed(
        &Packet::of(context),
        at as usize & MAX_OFFSET,
        next as u8,
        end as usize,
    )
    .word()
}

/// Follows the headers from `at` in the frame, the first of which is a `next`, as far as
/// `end`, where the packet ends.
#[inline(always)]
fn followed(packet: &Packet, at: usize, next: u8, end: usize) -> Chain {
    let mut chain = Chain {
        protocol: next,
        l4: at,
        ..Chain::NONE
    };
    let mut fragmented = false;
    for count in 0..=MAX_EXTENSION_HEADERS {
        let next = chain.protocol;
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            return chain;
        }
        let out_of_place = next == HOP_BY_HOP && count != 0 || next == FRAGMENT && fragmented;
        if count == MAX_EXTENSION_HEADERS || out_of_place {
            chain.is_refused = true;
            return chain;
        }
        let Some(header) = packet.at::<LEAST>(chain.l4) else {
            (chain.is_refused, chain.is_malformed) = (true, true);
            return chain;
        };
        if chain.l4 + LEAST > end {
            (chain.is_refused, chain.is_malformed) = (true, true);
            return chain;
        }
        chain.protocol = header.load::<u8, 0>();
        let mut length = LEAST;
        if next == FRAGMENT {
            fragmented = true;
            let place = u16::from_be(header.load::<u16, 2>());
            chain.id = header.load::<u32, 4>();
            chain.is_first = place & 1 != 0;
            chain.is_later = place >> 3 != 0;
        } else {
            length = (usize::from(header.load::<u8, 1>()) + 1) * 8;
            // Segments left: it isn't where it goes to yet.
            let under_way = next == ROUTING && header.load::<u8, 3>() != 0;
            if length > MAX_EXTENSION_LENGTH as usize || under_way {
                chain.is_refused = true;
                return chain;
            }
        }
        chain.l4 += length;
        if chain.l4 > end {
            (chain.is_refused, chain.is_malformed) = (true, true);
            return chain;
        }
        if chain.is_later {
            return chain;
        }
    }
    chain
}
