//! Which slot of a bucket a new flow gets.

#[cfg(test)]
mod tests;

use super::{AGE_SHIFT, BUCKET_SLOTS, Entry, State, Tick, Timeouts};
use crate::arithmetic::Arithmetic;

/// How reluctantly a slot is given to a new flow, for every state that its flow may be in and
/// every tick in which its last packet may have come: worked out beforehand, so that the
/// data plane asks nothing but this table. Neighbouring ticks are neighbours in it, so it
/// takes few cache lines at a time.
///
/// It goes twice through all ticks: those before `now` and those after it are found by one
/// addition to [`Reluctance::start`], without a thought about the clock's wrapping.
///
/// The lowest bits are free for a slot's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reluctance([u16; Reluctance::LENGTH]);

/// States times ticks.
const KINDS: usize = State::ALL.len() << Tick::BITS;
/// Bits of a slot's number in its bucket.
const SLOT_BITS: u32 = BUCKET_SLOTS.ilog2();

/// The readiness of a closing flow in its own tick: what an established one lacks.
const CLOSING: u16 = 1 << 8;
/// That of a new one.
const NEW: u16 = 2 << 8;
/// From this readiness on, a flow has expired. More than that of all others of a bucket together, so
/// that a bucket's sum tells first how many are expired.
const EXPIRED: u16 = 24 << 8;

const _: () = assert!(EXPIRED > BUCKET_SLOTS as u16 * (NEW | Tick::MAX as u16));

impl Reluctance {
    /// How many places the table has.
    pub const LENGTH: usize = 2 * KINDS;
    /// That of an established flow: its slot isn't given away.
    pub const NEVER: u16 = (u16::MAX >> SLOT_BITS) << SLOT_BITS;

    /// The table for these timeouts.
    #[must_use]
    pub const fn new(timeouts: Timeouts) -> Self {
        let mut table = [0; Self::LENGTH];
        let mut place = 0;
        while place < Self::LENGTH {
            // When the clock stands at 0, entries begin in the middle.
            let readiness = readiness(Entry(place as u64), 0, timeouts);
            table[place] = Self::NEVER - (readiness << SLOT_BITS);
            place += 1;
        }
        Reluctance(table)
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &[u16; Self::LENGTH] {
        &self.0
    }

    /// Where the table of a tick begins.
    #[must_use]
    #[inline(always)]
    pub const fn start(now: Tick) -> usize {
        KINDS - ((now as usize) << AGE_SHIFT)
    }

    /// The place of an entry's reluctance from there on.
    #[must_use]
    #[inline(always)]
    pub const fn place(entry: Entry) -> usize {
        // State and age are an entry's lowest bits.
        entry.0 as usize & (KINDS - 1)
    }

    /// The reluctance of a slot that holds this.
    #[must_use]
    pub const fn of(&self, entry: Entry, now: Tick) -> u16 {
        self.0[Self::start(now) + Self::place(entry)]
    }
}

/// Expired flows first, then the oldest new flow, then the oldest closing one; a flow that
/// is established keeps its place: 0.
const fn readiness(entry: Entry, now: Tick, timeouts: Timeouts) -> u16 {
    let idle = entry.idle(now) as u16;
    if entry.is_expired(now, timeouts) {
        return EXPIRED | idle;
    }
    match entry.state() {
        State::New => NEW | idle,
        State::Closing => CLOSING | idle,
        State::Established | State::Assured => 0,
    }
}

/// The slot that a new flow may take, and what it holds: its [`home`](super::home_shift), modulo
/// their number, if that is free, else the first free one, else that of least
/// [reluctance](Reluctance), which `reluctance` tells.
/// `None` when every slot holds an established flow, or somebody was faster. Whoever takes the
/// slot must find it unchanged: another CPU may have given it to another flow by then, which
/// must not lose it while there are others.
///
/// Which slot holds what is chance: a branch that asked would be mispredicted, so [`Arithmetic::less`]
/// has none in the data plane.
#[must_use]
#[inline(always)]
pub fn victim<A: Arithmetic>(
    load: impl Fn(usize) -> Entry,
    reluctance: impl Fn(Entry) -> u64,
    home: impl FnOnce() -> usize,
) -> Option<(usize, Entry)> {
    // Reluctance and slot are one number, of which the least is sought.
    let mut least = 0;
    let mut slot = 0;
    while slot < BUCKET_SLOTS {
        let entry = load(slot);
        if entry.is_empty() {
            return free::<A>(load, home());
        }
        let this = reluctance(entry) | slot as u64;
        least = if slot == 0 {
            this
        } else {
            A::less(this, least)
        };
        slot += 1;
    }
    let slot = least as usize & (BUCKET_SLOTS - 1);
    let entry = load(slot);
    // Another flow may have got it since it was looked at.
    let is_as_ready = reluctance(entry) | slot as u64 <= least;
    (is_as_ready && least < u64::from(Reluctance::NEVER)).then_some((slot, entry))
}

/// The home if that is free, else the first free slot. `None` when somebody was faster.
#[inline(always)]
fn free<A: Arithmetic>(load: impl Fn(usize) -> Entry, home: usize) -> Option<(usize, Entry)> {
    let home = home & (BUCKET_SLOTS - 1);
    if load(home).is_empty() {
        return Some((home, Entry::EMPTY));
    }
    let mut slot = 0;
    while slot < BUCKET_SLOTS {
        if load(slot).is_empty() {
            return Some((A::opaque(slot as u64) as usize, Entry::EMPTY));
        }
        slot += 1;
    }
    None
}
