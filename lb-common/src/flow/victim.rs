//! Which slot of a bucket a new flow gets.

#[cfg(test)]
mod tests;

use super::{AGE_SHIFT, BUCKET_SLOTS, Entry, State, Tick, Timeouts};

/// How readily a slot is given to a new flow, for every state that its flow may be in and
/// every number of ticks since that one's last packet: worked out beforehand, so that the
/// data plane asks nothing but this table. Neighbouring ages are neighbours in it, so it
/// takes few cache lines at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness([u16; Readiness::LENGTH]);

/// State and age of an entry, its lowest bits.
const KINDS: u64 = Readiness::LENGTH as u64 - 1;

impl Readiness {
    /// How many kinds of entries there are: states times ages.
    pub const LENGTH: usize = State::ALL.len() << Tick::BITS;
    /// From this readiness on, a flow has expired.
    pub const EXPIRED: u16 = 3 << 8;

    /// The table for these timeouts.
    #[must_use]
    pub const fn new(timeouts: Timeouts) -> Self {
        let mut table = [0; Self::LENGTH];
        let mut place = 0;
        while place < Self::LENGTH {
            // A clock that stands at 0 sees each kind of entry at the place of its bits.
            table[place] = readiness(Entry(place as u64), 0, timeouts);
            place += 1;
        }
        Readiness(table)
    }

    /// The table, to be indexed by [`Readiness::place`].
    #[must_use]
    pub const fn table(&self) -> &[u16; Self::LENGTH] {
        &self.0
    }

    /// The place of an entry's readiness, below [`Readiness::LENGTH`].
    #[must_use]
    #[inline(always)]
    pub const fn place(entry: Entry, now: Tick) -> usize {
        (entry.0.wrapping_sub((now as u64) << AGE_SHIFT) & KINDS) as usize
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
        State::New => 2 << 8 | idle,
        State::Closing => 1 << 8 | idle,
        State::Established | State::Assured => 0,
    }
}

/// The slot that a new flow may take, and what it held when it was chosen: a free one, else
/// that of greatest readiness, which `ready` tells by [`Readiness::place`]. `None` when every
/// slot holds an established flow. Whoever takes the slot must find it unchanged: another
/// CPU may have given it to another flow by now, which must not lose it while there are
/// others.
///
/// `CLAIMS` tells whether slots may be [claimed](Entry::claimed).
#[must_use]
#[inline(always)]
pub fn victim<const CLAIMS: bool>(
    load: impl Fn(usize) -> Entry,
    ready: impl Fn(usize) -> u16,
    now: Tick,
) -> Option<(usize, Entry)> {
    let (mut best, mut chosen) = (0, None);
    let mut slot = 0;
    while slot < BUCKET_SLOTS {
        let entry = load(slot);
        if entry.is_empty() {
            return Some((slot, entry));
        }
        let readiness = ready(Readiness::place(entry, now));
        if readiness > best && !(CLAIMS && entry.backend() == 0) {
            best = readiness;
            chosen = Some((slot, entry));
        }
        slot += 1;
    }
    chosen
}
