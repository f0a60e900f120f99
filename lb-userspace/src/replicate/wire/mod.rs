//! What is inside the seals. All numbers are big-endian; decoding takes any bytes.

mod chunk;
mod reader;
mod terms;
mod to_active;
mod to_standby;

pub use chunk::{Chunk, ChunkWriter, Slot};
pub use terms::{Difference, Terms, greeting, read_greeting};
pub use to_active::{ACK_WORDS, Ack, ToActive};
pub use to_standby::{ITEMS, ToStandby};

#[cfg(test)]
mod tests;
