//! Packets that went wrong on their way.

use super::dice::Dice;
use crate::{audit::network, bytes::put_word};

/// Bytes that are often on the edge of something.
const EDGES: [u8; 12] = [0, 1, 4, 6, 17, 41, 44, 58, 0x7f, 0x80, 0xfe, 0xff];

/// Changes a frame here and there. It stays at least an Ethernet header.
pub fn mutate(frame: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..dice.0.u32(1..=3) {
        let reach = if dice.one_in(4) {
            frame.len()
        } else {
            frame.len().min(110)
        };
        let at = dice.0.usize(0..reach);
        match dice.0.u32(0..8) {
            0 | 1 => frame[at] ^= 1 << dice.0.u32(0..8),
            2 => frame[at] = dice.one_of(&EDGES),
            3 => frame[at] = dice.0.u8(..),
            4 => {
                let other = dice.0.usize(0..reach);
                frame.swap(at, other);
            }
            5 => frame.truncate(at.max(14)),
            6 => length(frame, dice),
            _ => {
                let byte = frame[at];
                frame.insert(at, byte);
            }
        }
    }
}

/// A length field that lies, by a little or by much.
fn length(frame: &mut [u8], dice: &mut Dice) {
    let Some((at, kind)) = network(frame) else {
        return;
    };
    let field = if kind == 0x86dd { at + 4 } else { at + 2 };
    if frame.len() < field + 2 {
        return;
    }
    let is = crate::bytes::word(frame, field);
    let lie = match dice.0.u32(0..4) {
        0 => is.wrapping_add(dice.0.u16(1..9)),
        1 => is.wrapping_sub(dice.0.u16(1..60)),
        2 => dice.0.u16(0..100),
        _ => dice.0.u16(..),
    };
    put_word(frame, field, lie);
}
