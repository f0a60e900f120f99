//! What the active node says.

use super::{
    Chunk,
    chunk::{CHUNK, read_chunk},
    reader::Reader,
};
use crate::replicate::{
    roster::{Item, Kind, Member},
    seal::BODY,
};

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
        /// The number in [`Ack::again`](super::Ack::again) that has been answered.
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

const BYE: u8 = 0;
const MARK: u8 = 1;
const ROSTER: u8 = 2;

/// Items of the longest part of a roster: 19 bytes each.
pub const ITEMS: usize = (BODY - 9) / 19;

impl ToStandby {
    /// The body to seal. (Chunks are written by a [`ChunkWriter`](super::ChunkWriter).) Of items only the first [`ITEMS`] fit.
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
