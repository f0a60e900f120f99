//! The flow table's entries and rules.
//!
//! A flow is one 64-bit word, so every read and every update is one load or one
//! compare-exchange: no lock, no torn entry. A bucket is one cache line of them.
//!
//! ```text
//! 63            26 25          10 9      2 1     0
//! +---------------+--------------+--------+-------+
//! | fingerprint   | backend      | age    | state |
//! +---------------+--------------+--------+-------+
//! ```

#[cfg(test)]
mod tests;
mod victim;

pub use victim::{Reluctance, victim};

use crate::arithmetic::{Arithmetic, Plain};

/// Entries of one bucket: a cache line.
pub const BUCKET_SLOTS: usize = 8;
/// Bits of the hash that an entry keeps. With the bits that choose the bucket
/// (24 at most) they are disjoint parts of the hash.
pub const FINGERPRINT_BITS: u32 = 38;

const BACKEND_SHIFT: u32 = 10;
const AGE_SHIFT: u32 = 2;

/// How far a flow has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// One packet seen; whoever sent it may be making it up.
    New = 0,
    /// TCP: the client went on after its first packet.
    Established = 1,
    /// TCP: a FIN or RST was seen.
    Closing = 2,
    /// UDP: the client went on after its first datagram.
    Assured = 3,
}

impl State {
    /// Every state, in the order of the numbers.
    pub const ALL: [State; 4] = [
        State::New,
        State::Established,
        State::Closing,
        State::Assured,
    ];

    #[inline(always)]
    const fn from_bits(bits: u64) -> State {
        match bits & 3 {
            0 => State::New,
            1 => State::Established,
            2 => State::Closing,
            _ => State::Assured,
        }
    }
}

/// A moment on the coarse clock, modulo 256 ticks.
pub type Tick = u8;

/// From this many ticks on, an age is one in the future.
pub const FUTURE: u8 = 248;

/// After how many ticks without a packet an entry has expired, by state.
/// All must be well below [`FUTURE`], since ages are known modulo 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts(u32);

impl Timeouts {
    /// Timeouts in ticks for [`State::ALL`], in that order.
    #[must_use]
    pub const fn new(ticks: [u8; 4]) -> Self {
        Timeouts(u32::from_le_bytes(ticks))
    }

    /// From the form that [`Timeouts::bits`] gives.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Timeouts(bits)
    }

    /// One byte a state, as the data plane's read-only data holds it.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The timeout of one state, in ticks.
    #[must_use]
    #[inline(always)]
    pub const fn of(self, state: State) -> u8 {
        (self.0 >> (state as u32 * 8)) as u8
    }
}

/// One slot of the flow table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(u64);

/// Bits of an entry below its fingerprint.
const REST: u32 = 64 - FINGERPRINT_BITS;

impl Entry {
    /// A slot that holds no flow.
    pub const EMPTY: Entry = Entry(0);

    /// An entry for a flow. `backend` is at least 1, so no entry looks empty.
    #[must_use]
    #[inline(always)]
    pub const fn new(fingerprint: u64, backend: u16, age: Tick, state: State) -> Self {
        Entry(
            fingerprint << (64 - FINGERPRINT_BITS)
                | (backend as u64) << BACKEND_SHIFT
                | (age as u64) << AGE_SHIFT
                | state as u64,
        )
    }

    /// What holds a slot while its owner is written: it belongs to no backend, and no
    /// new flow takes it, as if it were an established flow's.
    #[must_use]
    #[inline(always)]
    pub const fn claimed(now: Tick) -> Self {
        let age = (now as u64) << AGE_SHIFT;
        Entry(1 << (64 - FINGERPRINT_BITS) | age | State::Established as u64)
    }

    /// From the word in the map.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Entry(bits)
    }

    /// The word in the map.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the slot holds no flow.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// [`Entry::is_empty`] as a number, without a comparison: 1 or 0.
    #[must_use]
    #[inline(always)]
    pub const fn empty_bit(self) -> u64 {
        // No entry has the lowest bit alone: it has a backend, or is claimed.
        (self.0 >> 1).wrapping_sub(1) >> 63
    }

    /// Whether this is the flow with that fingerprint.
    #[must_use]
    #[inline(always)]
    pub const fn is(self, fingerprint: u64) -> bool {
        // Two instructions of the data plane's, where the shift of the fingerprint is done once.
        (self.0 ^ fingerprint << REST) < 1 << REST
    }

    /// The backend's number, 1 and up.
    #[must_use]
    #[inline(always)]
    pub const fn backend(self) -> u16 {
        (self.0 >> BACKEND_SHIFT) as u16
    }

    /// The tick in which its last packet came.
    #[must_use]
    #[inline(always)]
    pub const fn age(self) -> Tick {
        (self.0 >> AGE_SHIFT) as u8
    }

    /// How far the flow has come.
    #[must_use]
    #[inline(always)]
    pub const fn state(self) -> State {
        State::from_bits(self.0)
    }

    /// The same flow after another packet. Equal to `self` when nothing changes,
    /// so that a busy flow's line is not written.
    #[must_use]
    #[inline(always)]
    pub const fn touched(self, now: Tick, state: State) -> Self {
        const KEEP: u64 = !(0xff << AGE_SHIFT | 3);
        Entry(self.0 & KEEP | (now as u64) << AGE_SHIFT | state as u64)
    }

    /// The same flow with another backend.
    #[must_use]
    #[inline(always)]
    pub const fn moved(self, backend: u16, now: Tick, state: State) -> Self {
        const KEEP: u64 = !(0xffff << BACKEND_SHIFT);
        Entry(self.0 & KEEP | (backend as u64) << BACKEND_SHIFT).touched(now, state)
    }

    /// Whether its timeout has passed.
    #[must_use]
    #[inline(always)]
    pub const fn is_expired(self, now: Tick, timeouts: Timeouts) -> bool {
        self.idle(now) > timeouts.of(self.state())
    }

    /// Ticks since its last packet. Whoever looked at the clock before another CPU wrote
    /// the entry finds it a little in the future: that is no time at all.
    #[must_use]
    #[inline(always)]
    pub const fn idle(self, now: Tick) -> u8 {
        let ticks = now.wrapping_sub(self.age());
        if ticks >= FUTURE { 0 } else { ticks }
    }
}

/// Bucket number and fingerprint of a flow in a table of 2^(64 − `shift`) buckets.
#[must_use]
#[inline(always)]
pub const fn place(hash: u64, shift: u32) -> (u64, u64) {
    (hash >> shift, fingerprint(hash))
}

/// What an entry keeps of its flow's hash.
#[must_use]
#[inline(always)]
pub const fn fingerprint(hash: u64) -> u64 {
    hash & ((1 << FINGERPRINT_BITS) - 1)
}

/// By how many bits a flow's hash is shifted, in a table of 2^(64 − `shift`) buckets, to make the
/// number of its home: that of its bucket, times [`BUCKET_SLOTS`], and the slot in it.
///
/// The home is the slot that a flow takes if it is free. Most flows are there, so that a
/// processor foresees where it finds one, and goes on to the next packet while it still waits
/// for this one's bucket. Which of the other slots it is would be chance.
#[must_use]
#[inline(always)]
pub const fn home_shift(shift: u32) -> u32 {
    shift - BUCKET_SLOTS.ilog2()
}

/// Finds a flow in a bucket that `load` reads.
#[must_use]
#[inline(always)]
pub fn find(load: impl Fn(usize) -> Entry, fingerprint: u64) -> Option<(usize, Entry)> {
    find_with::<Plain>(load, fingerprint)
}

/// The same where instructions count.
#[must_use]
#[inline(always)]
pub fn find_with<A: Arithmetic>(
    load: impl Fn(usize) -> Entry,
    fingerprint: u64,
) -> Option<(usize, Entry)> {
    let mut slot = 0;
    while slot < BUCKET_SLOTS {
        // What is left of the entry of this flow: backend, age and state. Of others it isn't needed,
        // so no second register has it.
        let rest = A::differ(load(slot).0, fingerprint << REST);
        if rest < 1 << REST {
            // Opaque, or each slot's number is noted ahead of the comparison.
            let slot = A::opaque(slot as u64) as usize;
            let entry = Entry(rest | fingerprint << REST);
            if !entry.is_empty() {
                return Some((slot, entry));
            }
        }
        slot += 1;
    }
    None
}

/// TCP flags that matter here (RFC 9293 section 3.1), as they lie in the 14th byte.
pub mod tcp {
    /// IP protocol number.
    pub const PROTOCOL: u8 = 6;
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field is valid.
    pub const ACK: u8 = 0x10;

    /// Whether this opens a connection.
    #[must_use]
    #[inline(always)]
    pub const fn opens(flags: u8) -> bool {
        flags & (SYN | ACK | RST | FIN) == SYN
    }

    /// Whether this ends a connection, or a half of it.
    #[must_use]
    #[inline(always)]
    pub const fn closes(flags: u8) -> bool {
        flags & (FIN | RST) != 0
    }
}

/// The state of a known flow after another packet of the client's.
#[must_use]
#[inline(always)]
pub const fn after_client(state: State, is_tcp: bool, flags: u8) -> State {
    if !is_tcp {
        return State::Assured;
    }
    if tcp::closes(flags) {
        return State::Closing;
    }
    match state {
        // A SYN sent again proves nothing yet.
        State::New if flags & tcp::SYN != 0 => State::New,
        State::New => State::Established,
        State::Established | State::Closing | State::Assured => state,
    }
}

/// Whether a packet of the client's leaves a known flow's entry as it is, and opens no connection:
/// nearly every packet does. `flags` are TCP's, and aren't asked for where the flow is one of UDP:
/// only those of TCP are established, only those of UDP assured.
#[must_use]
#[inline(always)]
pub fn is_settled(entry: Entry, now: Tick, flags: impl FnOnce() -> u8) -> bool {
    const AGE_AND_STATE: u64 = (1 << BACKEND_SHIFT) - 1;
    const ESTABLISHED: u64 = State::Established as u64;
    const ASSURED: u64 = State::Assured as u64;
    match (entry.0 ^ (now as u64) << AGE_SHIFT) & AGE_AND_STATE {
        ESTABLISHED => flags() & (tcp::SYN | tcp::FIN | tcp::RST) == 0,
        ASSURED => true,
        _ => false,
    }
}

/// Whether a packet of the server's leaves a known flow's entry as it is.
#[must_use]
#[inline(always)]
pub const fn is_settled_for_server(entry: Entry, now: Tick, is_tcp: bool, flags: u8) -> bool {
    entry.age() == now && !(is_tcp && tcp::closes(flags))
}

/// Whether an entry is that of this flow, with this backend, which is at least 1, and a packet of
/// the server's leaves it as it is. `flags` as for [`is_settled`]; of a flow of UDP that isn't
/// assured yet it is perhaps not found out.
#[must_use]
#[inline(always)]
pub fn is_settled_with(
    entry: Entry,
    fingerprint: u64,
    backend: u16,
    now: Tick,
    flags: impl FnOnce() -> u8,
) -> bool {
    const ASSURED: u64 = State::Assured as u64;
    // One comparison: all but the state is as it would be written.
    let written = Entry::new(fingerprint, backend, now, State::New);
    match entry.0 ^ written.0 {
        ASSURED => true,
        0..ASSURED => !tcp::closes(flags()),
        _ => false,
    }
}

/// The state of a known flow after a packet of the server's (`nat` sees those).
/// It never makes a flow established: only the client's answer shows that the
/// client is where it says.
#[must_use]
#[inline(always)]
pub const fn after_server(state: State, is_tcp: bool, flags: u8) -> State {
    if is_tcp && tcp::closes(flags) {
        State::Closing
    } else {
        state
    }
}
