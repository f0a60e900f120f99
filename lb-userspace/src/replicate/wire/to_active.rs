//! What the standby says.

use super::reader::Reader;

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
