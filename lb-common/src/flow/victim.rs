//! Which slot of a bucket a new flow gets.

#[cfg(test)]
mod tests;

use super::{AGE_SHIFT, BUCKET_SLOTS, Entry, State, Tick, Timeouts};

/// How readily a slot is given to a new flow, for every state that its flow may be in and
/// every tick in which its last packet may have come: worked out beforehand, so that the
/// data plane asks nothing but this table. Neighbouring ticks are neighbours in it, so it
/// takes few cache lines at a time.
///
/// It goes twice through all ticks: those before `now` and those after it are found by one
/// addition to [`Readiness::start`], without a thought about the clock's wrapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness([u16; Readiness::LENGTH]);

/// States times ticks.
const KINDS: usize = State::ALL.len() << Tick::BITS;

const _: () = assert!(Readiness::EXPIRED > BUCKET_SLOTS as u16 * (NEW | Tick::MAX as u16));

/// The readiness of a new flow in its own tick.
const NEW: u16 = 2 << 8;
/// That of a closing one.
const CLOSING: u16 = 1 << 8;

impl Readiness {
    /// How many places the table has.
    pub const LENGTH: usize = 2 * KINDS;
    /// From this readiness on, a flow has expired. More than that of all others of a bucket
    /// together, so that the sum of a bucket's tells first how many are expired.
    pub const EXPIRED: u16 = 32 << 8;

    /// The table for these timeouts.
    #[must_use]
    pub const fn new(timeouts: Timeouts) -> Self {
        let mut table = [0; Self::LENGTH];
        let mut place = 0;
        while place < Self::LENGTH {
            // When the clock stands at 0, entries begin in the middle.
            table[place] = readiness(Entry(place as u64), 0, timeouts);
            place += 1;
        }
        Readiness(table)
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

    /// The place of an entry's readiness from there on.
    #[must_use]
    #[inline(always)]
    pub const fn place(entry: Entry) -> usize {
        // State and age are an entry's lowest bits.
        entry.0 as usize & (KINDS - 1)
    }

    /// The readiness of a slot that holds this.
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
        return Readiness::EXPIRED | idle;
    }
    match entry.state() {
        State::New => NEW | idle,
        State::Closing => CLOSING | idle,
        State::Established | State::Assured => 0,
    }
}

/// The slot that a new flow may take, and what it holds: its [`home`](super::home_shift), modulo
/// their number, if that is free, else the first free one, else that of greatest readiness, which
/// `ready` tells.
/// `None` when every slot holds an established flow, or somebody was faster. Whoever takes the
/// slot must find it unchanged: another CPU may have given it to another flow by then, which
/// must not lose it while there are others.
///
/// For `opaque` see [`super::find_with`].
#[must_use]
#[inline(always)]
pub fn victim(
    load: impl Fn(usize) -> Entry,
    opaque: impl Fn(u64) -> u64,
    ready: impl Fn(Entry) -> u16,
    home: usize,
) -> Option<(usize, Entry)> {
    let mut slot = 0;
    while slot < BUCKET_SLOTS {
        if load(slot).is_empty() {
            let home = home & (BUCKET_SLOTS - 1);
            let slot = if load(home).is_empty() { home } else { slot };
            return Some((opaque(slot as u64) as usize, Entry::EMPTY));
        }
        slot += 1;
    }
    let ready = |entry: Entry| u64::from(ready(entry)) << SLOT_BITS;
    // Readiness and slot are one number, of which the greatest is sought. Which slot holds
    // what is chance: a branch that asked would be mispredicted, so there is none.
    let greater = |one: u64, other: u64| {
        let less = one.wrapping_sub(other);
        let is_less = opaque((less.cast_signed() >> 63).cast_unsigned());
        one.wrapping_sub(less & is_less)
    };
    let one = |slot: usize| ready(load(slot)) | slot as u64;
    let two = |slot: usize| greater(one(slot), one(slot + 1));
    let four = |slot: usize| greater(two(slot), two(slot + 2));
    let best = greater(four(0), four(4));
    let slot = best as usize & (BUCKET_SLOTS - 1);
    let entry = load(slot);
    // Another flow may have got it since it was looked at.
    let is_as_ready = ready(entry) | slot as u64 >= best;
    (is_as_ready && best >> SLOT_BITS > 0).then_some((slot, entry))
}

const SLOT_BITS: u32 = BUCKET_SLOTS.ilog2();
