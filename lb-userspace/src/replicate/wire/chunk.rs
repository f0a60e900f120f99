//! Slots of a table, as a datagram tells them.

use super::reader::Reader;
use crate::replicate::{Which, seal::BODY, tables::OwnerWords};

/// Slots of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The table.
    pub table: Which,
    /// The edition of the roster that its numbers are of.
    pub edition: u32,
    /// Data of lower sequence numbers has been given up.
    pub floor: u64,
    /// The chunk tells all about slots from the first to below the second number: those that aren't listed are empty.
    pub covers: Option<(u32, u32)>,
    /// In the order of the slots.
    pub slots: Vec<Slot>,
}

/// A slot's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its number.
    pub slot: u32,
    /// The entry; its age is the time since the last packet, in the sender's ticks. 0 if empty.
    pub word: u64,
    /// Who a port belongs to.
    pub owner: Option<OwnerWords>,
}

/// The first byte of its body.
pub(super) const CHUNK: u8 = 3;

/// What follows that byte.
pub(super) fn read_chunk(from: &mut Reader<'_>) -> Option<Chunk> {
    let table = match from.u8()? {
        0 => Which::Flows,
        1 => Which::Ports,
        _ => return None,
    };
    let (edition, floor) = (from.u32()?, from.u64()?);
    let is_cover = from.flag()?;
    let (start, end) = (from.u32()?, from.u32()?);
    let mut slots = Vec::new();
    let mut next = start;
    while !from.0.is_empty() {
        let slot = next.checked_add(from.varint()?)?;
        let word = from.u64()?;
        let owner = match (table, word) {
            (Which::Flows, _) | (_, 0) => None,
            (Which::Ports, _) => Some([from.u64()?, from.u64()?, from.u64()?]),
        };
        slots.push(Slot { slot, word, owner });
        next = slot.checked_add(1)?;
    }
    (next <= end).then_some(Chunk {
        table,
        edition,
        floor,
        covers: is_cover.then_some((start, end)),
        slots,
    })
}

/// Writes a chunk slot by slot: the distance from the slot before (a byte where they are neighbours or nearly), the
/// entry's 8 bytes and a port's owner.
#[derive(Debug)]
pub struct ChunkWriter {
    body: Vec<u8>,
    next: u32,
}

impl ChunkWriter {
    /// Where the end of a cover lies.
    const END: usize = 1 + 1 + 4 + 8 + 1 + 4;
    pub(super) const HEADER: usize = Self::END + 4;
    /// Most bytes of a slot: distance, entry, owner.
    const SLOT: [usize; 2] = [5 + 8, 5 + 8 + 24];

    /// Slots that fit any chunk of this table, however they lie.
    #[must_use]
    pub const fn surely(table: Which) -> usize {
        (BODY - Self::HEADER) / Self::SLOT[table as usize]
    }

    /// A chunk without slots, of which the first to come is `start` or a later one.
    #[must_use]
    pub fn new(table: Which, edition: u32, floor: u64, is_cover: bool, start: u32) -> Self {
        let mut body = Vec::with_capacity(BODY);
        body.extend_from_slice(&[CHUNK, table as u8]);
        body.extend_from_slice(&edition.to_be_bytes());
        body.extend_from_slice(&floor.to_be_bytes());
        body.push(u8::from(is_cover));
        body.extend_from_slice(&start.to_be_bytes());
        body.extend_from_slice(&[0; 4]);
        ChunkWriter { body, next: start }
    }

    /// Whether another slot surely fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.body.len() + Self::SLOT[usize::from(self.body[1])] <= BODY
    }

    /// Adds a slot, which lies behind those before it.
    pub fn push(&mut self, slot: &Slot) {
        let mut gap = slot.slot - self.next;
        while gap >= 0x80 {
            self.body.push(gap as u8 | 0x80);
            gap >>= 7;
        }
        self.body.push(gap as u8);
        self.body.extend_from_slice(&slot.word.to_be_bytes());
        for word in slot.owner.iter().flatten() {
            self.body.extend_from_slice(&word.to_be_bytes());
        }
        self.next = slot.slot + 1;
    }

    /// The body to seal, of a chunk about slots below `end`.
    #[must_use]
    pub fn body(mut self, end: u32) -> Vec<u8> {
        self.body[Self::END..Self::HEADER].copy_from_slice(&end.max(self.next).to_be_bytes());
        self.body
    }
}
