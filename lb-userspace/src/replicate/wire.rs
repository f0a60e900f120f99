//! What is inside the seals. All numbers are big-endian; decoding takes any bytes.

use std::fmt;

use super::{
    Which,
    roster::{Item, Kind, Member},
    seal::{BODY, Session},
    tables::OwnerWords,
};

/// What two nodes' tables must have in common for one to follow the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Slots of the flow table.
    pub flow_slots: u64,
    /// [`lb_common::abi::Pool::bits`]: how `full-nat`'s ports lie.
    pub pool: u64,
    /// A digest of the flow table's keys: with others, a flow lies elsewhere.
    pub flow_keys: [u8; 16],
    /// The addresses of the `full-nat` pool, as a digest.
    pub pool_addresses: [u8; 16],
    /// Nanoseconds of a tick. May differ, for ages are converted; never 0.
    pub tick_ns: u64,
}

/// In what two nodes' [`Terms`] differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Slots of the flow table.
    FlowSlots {
        /// The peer's.
        theirs: u64,
        /// This node's.
        ours: u64,
    },
    /// The shape of the `full-nat` pool.
    Pool,
    /// The keys of the flow table.
    FlowKeys,
    /// The addresses of the `full-nat` pool.
    PoolAddresses,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::FlowSlots { theirs, ours } => write!(
                f,
                "its flow table has {theirs} slots, this node's {ours}; set the same `max_flows`"
            ),
            Difference::Pool => {
                f.write_str("its full-nat pool has other ports or another number of addresses")
            }
            Difference::FlowKeys => f.write_str(
                "its flow table has other keys; both must be made with the same cluster key",
            ),
            Difference::PoolAddresses => f.write_str("its full-nat pool has other addresses"),
        }
    }
}

impl Terms {
    /// The first thing in which the peer's terms differ from these.
    #[must_use]
    pub fn difference(&self, theirs: &Terms) -> Option<Difference> {
        if self.flow_slots != theirs.flow_slots {
            return Some(Difference::FlowSlots {
                theirs: theirs.flow_slots,
                ours: self.flow_slots,
            });
        }
        let others = [
            (self.flow_keys == theirs.flow_keys, Difference::FlowKeys),
            (self.pool == theirs.pool, Difference::Pool),
            (
                self.pool_addresses == theirs.pool_addresses,
                Difference::PoolAddresses,
            ),
        ];
        others
            .into_iter()
            .find_map(|(same, difference)| (!same).then_some(difference))
    }

    fn write(&self, body: &mut Vec<u8>) {
        for number in [self.flow_slots, self.pool, self.tick_ns] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body.extend_from_slice(&self.flow_keys);
        body.extend_from_slice(&self.pool_addresses);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let [flow_slots, pool, tick_ns] = [from.u64()?, from.u64()?, from.u64()?];
        Some(Terms {
            flow_slots,
            pool,
            tick_ns: (tick_ns != 0).then_some(tick_ns)?,
            flow_keys: from.take()?,
            pool_addresses: from.take()?,
        })
    }
}

/// The body of the standby's greeting, or of the answer with the number that it answers. Both are
/// as long as the other, so nobody gets more by a greeting than it sent.
#[must_use]
pub fn greeting(echo: &Session, terms: &Terms) -> Vec<u8> {
    let mut body = echo.to_vec();
    terms.write(&mut body);
    body
}

/// The other way round: the number that it answers, and the terms.
#[must_use]
pub fn read_greeting(body: &[u8]) -> Option<(Session, Terms)> {
    let mut from = Reader(body);
    let read = (from.take()?, Terms::read(&mut from)?);
    from.0.is_empty().then_some(read)
}

/// Words of the bits of an [`Ack`].
pub const ACK_WORDS: usize = 16;

/// From the standby: which datagrams it has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToActive {
    /// It lives, and took these.
    Ack(Ack),
    /// It ends the session.
    Bye,
}

/// Which datagrams were taken: bit `i` stands for the number `highest` − `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ack {
    /// The highest number.
    pub highest: u64,
    /// Bit 0 is the first word's lowest.
    pub bits: [u64; ACK_WORDS],
    /// How often the standby has asked to be told everything again.
    pub again: u32,
}

impl Ack {
    /// Whether this number is among them.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        let Some(back) = self.highest.checked_sub(number) else {
            return false;
        };
        let word = self.bits.get((back / 64) as usize);
        word.is_some_and(|word| word >> (back % 64) & 1 == 1)
    }

    /// Adds a number; one too far back is left out.
    pub fn add(&mut self, number: u64) {
        if number > self.highest {
            let by = number - self.highest;
            self.bits = std::array::from_fn(|word| {
                // The bits move up by `by`: from `whole` words below, and the rest from one more.
                let (whole, rest) = (by / 64, by % 64);
                let from = |offset: u64| {
                    let at = (word as u64).checked_sub(whole.saturating_add(offset));
                    at.map_or(0, |at| self.bits[at as usize])
                };
                match rest {
                    0 => from(0),
                    _ => from(0) << rest | from(1) >> (64 - rest),
                }
            });
            self.highest = number;
        }
        let back = self.highest - number;
        if let Some(word) = self.bits.get_mut((back / 64) as usize) {
            *word |= 1 << (back % 64);
        }
    }
}

impl ToActive {
    /// The body to seal.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        match self {
            ToActive::Bye => vec![0],
            ToActive::Ack(ack) => {
                let mut body = vec![1];
                body.extend_from_slice(&ack.highest.to_be_bytes());
                body.extend_from_slice(&ack.again.to_be_bytes());
                for word in ack.bits {
                    body.extend_from_slice(&word.to_be_bytes());
                }
                body
            }
        }
    }

    /// From any bytes; `None` if they say nothing.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut from = Reader(body);
        let read = match from.u8()? {
            0 => ToActive::Bye,
            1 => {
                let mut ack = Ack {
                    highest: from.u64()?,
                    again: from.u32()?,
                    ..Ack::default()
                };
                for word in &mut ack.bits {
                    *word = from.u64()?;
                }
                ToActive::Ack(ack)
            }
            _ => return None,
        };
        from.0.is_empty().then_some(read)
    }
}

/// From the active node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToStandby {
    /// It ends the session.
    Bye,
    /// How far the standby is.
    Mark {
        /// It has everything but what changed just now.
        in_sync: bool,
        /// Milliseconds since the moment up to which it has everything.
        lag_ms: u32,
        /// The number in [`Ack::again`] that has been answered.
        again: u32,
    },
    /// A part of what changed in the roster. Whoever has all of them knows this edition.
    Roster {
        /// The edition that the parts lead to; they come one after the other, from 1 on.
        edition: u32,
        /// This part, below `parts`.
        part: u16,
        /// How many there are.
        parts: u16,
        /// The part's items.
        items: Vec<Item>,
    },
    /// Slots.
    Chunk(Chunk),
}

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

const BYE: u8 = 0;
const MARK: u8 = 1;
const ROSTER: u8 = 2;
const CHUNK: u8 = 3;

/// Items of the longest part of a roster: 19 bytes each.
pub const ITEMS: usize = (BODY - 9) / 19;

impl ToStandby {
    /// The body to seal. (Chunks are written by a [`ChunkWriter`].) Of items only the first [`ITEMS`] fit.
    #[must_use]
    pub fn roster(edition: u32, part: u16, parts: u16, items: &[Item]) -> Vec<u8> {
        let mut body = vec![ROSTER];
        body.extend_from_slice(&edition.to_be_bytes());
        body.extend_from_slice(&part.to_be_bytes());
        body.extend_from_slice(&parts.to_be_bytes());
        for item in items.iter().take(ITEMS) {
            body.push(item.kind as u8);
            body.extend_from_slice(&item.number.to_be_bytes());
            body.extend_from_slice(&item.member.map_or([0; 16], |member| member.0));
        }
        body
    }

    /// The body of a mark.
    #[must_use]
    pub fn mark(in_sync: bool, lag_ms: u32, again: u32) -> Vec<u8> {
        let mut body = vec![MARK, u8::from(in_sync)];
        body.extend_from_slice(&lag_ms.to_be_bytes());
        body.extend_from_slice(&again.to_be_bytes());
        body
    }

    /// The body that ends a session.
    #[must_use]
    pub fn bye() -> Vec<u8> {
        vec![BYE]
    }

    /// From any bytes; `None` if they say nothing.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut from = Reader(body);
        let read = match from.u8()? {
            BYE => ToStandby::Bye,
            MARK => ToStandby::Mark {
                in_sync: from.flag()?,
                lag_ms: from.u32()?,
                again: from.u32()?,
            },
            ROSTER => {
                let [edition, part, parts] = [from.u32()?, from.u16()?.into(), from.u16()?.into()];
                let mut items = Vec::new();
                while !from.0.is_empty() {
                    items.push(read_item(&mut from)?);
                }
                if part >= parts || edition == 0 {
                    return None;
                }
                ToStandby::Roster {
                    edition,
                    part: part as u16,
                    parts: parts as u16,
                    items,
                }
            }
            CHUNK => ToStandby::Chunk(read_chunk(&mut from)?),
            _ => return None,
        };
        from.0.is_empty().then_some(read)
    }
}

fn read_item(from: &mut Reader<'_>) -> Option<Item> {
    let kind = match from.u8()? {
        0 => Kind::Backend,
        1 => Kind::Service,
        _ => return None,
    };
    let number = from.u16()?;
    let member = Member(from.take()?);
    Some(Item {
        kind,
        number,
        member: (member.0 != [0; 16]).then_some(member),
    })
}

fn read_chunk(from: &mut Reader<'_>) -> Option<Chunk> {
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
    const END: usize = 1 + 1 + 4 + 8 + 1 + 4;
    const HEADER: usize = Self::END + 4;
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

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self) -> Option<u32> {
        let mut number = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number).ok();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_not(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..5) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let _ = ToStandby::read(&bytes);
            let _ = ToActive::read(&bytes);
            let _ = read_greeting(&bytes);
        }

        #[test]
        fn chunks_come_back_as_written(
            slots in prop::collection::btree_map(any::<u32>(), (any::<u64>(), any::<[u64; 3]>()), 0..60),
            ports: bool, edition: u32, floor: u64, is_cover: bool, cut in 1usize..2_000,
        ) {
            let table = if ports { Which::Ports } else { Which::Flows };
            let mut slots: Vec<Slot> = slots.into_iter().filter(|(slot, _)| *slot < u32::MAX).map(|(slot, (word, owner))| {
                let word = if slot % 3 == 0 { 0 } else { word };
                Slot { slot, word, owner: (ports && word != 0).then_some(owner) }
            }).collect();
            let start = slots.first().map_or(7, |first| first.slot / 2);
            let mut writer = ChunkWriter::new(table, edition, floor, is_cover, start);
            let mut written = 0;
            while written < slots.len() && writer.has_room() {
                writer.push(&slots[written]);
                written += 1;
            }
            prop_assert!(written == slots.len() || written >= ChunkWriter::surely(table));
            slots.truncate(written);
            let end = slots.last().map_or(start, |last| last.slot + 1);
            let body = writer.body(0);
            prop_assert!(body.len() <= BODY);
            let covers = is_cover.then_some((start, end));
            let chunk = Chunk { table, edition, floor, covers, slots };
            prop_assert_eq!(ToStandby::read(&body), Some(ToStandby::Chunk(chunk)));
            // Cut anywhere it may be another chunk, or none.
            let _ = ToStandby::read(&body[..body.len().min(cut)]);
        }

        #[test]
        fn acknowledgements_are_a_set_of_the_last_numbers(
            steps in prop::collection::vec((any::<bool>(), 0u64..200), 1..100), far in 0u64..3_000,
        ) {
            let (mut ack, mut set, mut at) = (Ack::default(), BTreeSet::new(), far);
            for (forward, step) in steps {
                at = if forward { at + step } else { at.saturating_sub(step) };
                ack.add(at);
                set.insert(at);
            }
            let highest = *set.last().expect("not empty");
            for number in highest.saturating_sub(400)..=highest + 1 {
                prop_assert_eq!(ack.has(number), set.contains(&number), "{}", number);
            }
            prop_assert_eq!(ToActive::read(&ToActive::Ack(ack).body()), Some(ToActive::Ack(ack)));
        }
    }

    #[test]
    fn neighbours_cost_nine_bytes() {
        let mut writer = ChunkWriter::new(Which::Flows, 1, 0, false, 1 << 25);
        for slot in 1 << 25..(1 << 25) + 100 {
            let (word, owner) = (1 << 40, None);
            writer.push(&Slot { slot, word, owner });
        }
        assert_eq!(writer.body(0).len(), ChunkWriter::HEADER + 900);
    }

    #[test]
    fn the_longest_part_of_a_roster_fits() {
        let item = Item {
            kind: Kind::Service,
            number: 9,
            member: Some(Member([3; 16])),
        };
        let body = ToStandby::roster(1, 2, 3, &[item; ITEMS + 1]);
        assert!(body.len() <= BODY && body.len() + 19 > BODY);
        let expected = ToStandby::Roster {
            edition: 1,
            part: 2,
            parts: 3,
            items: vec![item; ITEMS],
        };
        assert_eq!(ToStandby::read(&body), Some(expected));
        assert_eq!(ToStandby::read(&ToStandby::roster(1, 3, 3, &[])), None);
    }

    #[test]
    fn marks_and_byes_come_back() {
        let mark = ToStandby::Mark {
            in_sync: true,
            lag_ms: 4_000_000_000,
            again: 7,
        };
        assert_eq!(
            ToStandby::read(&ToStandby::mark(true, 4_000_000_000, 7)),
            Some(mark)
        );
        assert_eq!(ToStandby::read(&ToStandby::bye()), Some(ToStandby::Bye));
        assert_eq!(ToActive::read(&ToActive::Bye.body()), Some(ToActive::Bye));
        assert_eq!(ToStandby::read(&[BYE, 0]), None);
    }
}
