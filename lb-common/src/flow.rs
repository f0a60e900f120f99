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
    /// new flow takes it.
    #[must_use]
    #[inline(always)]
    pub const fn claimed(now: Tick) -> Self {
        Entry(1 << (64 - FINGERPRINT_BITS) | (now as u64) << AGE_SHIFT)
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

    /// Whether this is the flow with that fingerprint.
    #[must_use]
    #[inline(always)]
    pub const fn is(self, fingerprint: u64) -> bool {
        self.0 >> (64 - FINGERPRINT_BITS) == fingerprint
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

    /// How readily the slot is given to a new flow; 0 is never. Free slots
    /// first, then expired ones, then the oldest new flow, then the oldest
    /// closing one; a flow that is established keeps its place.
    #[inline(always)]
    const fn readiness(self, now: Tick, timeouts: Timeouts) -> u32 {
        if self.is_empty() {
            return 4 << 8;
        }
        if self.backend() == 0 {
            return 0;
        }
        let idle = self.idle(now) as u32;
        if self.is_expired(now, timeouts) {
            return 3 << 8 | idle;
        }
        match self.state() {
            State::New => 2 << 8 | idle,
            State::Closing => 1 << 8 | idle,
            State::Established | State::Assured => 0,
        }
    }
}

/// Bucket number and fingerprint of a flow in a table of 2^(64 − `shift`) buckets.
#[must_use]
#[inline(always)]
pub const fn place(hash: u64, shift: u32) -> (u32, u64) {
    ((hash >> shift) as u32, hash & ((1 << FINGERPRINT_BITS) - 1))
}

/// Finds a flow in a bucket that `load` reads.
#[must_use]
#[inline(always)]
pub fn find(load: impl Fn(usize) -> Entry, fingerprint: u64) -> Option<(usize, Entry)> {
    let mut slot = 0;
    while slot < BUCKET_SLOTS {
        let entry = load(slot);
        if entry.is(fingerprint) && !entry.is_empty() {
            return Some((slot, entry));
        }
        slot += 1;
    }
    None
}

/// The slot that a new flow may take, and what it holds now. `None` when every
/// slot holds an established flow. `any` gives back its number, of which the verifier
/// doesn't know which it is.
#[must_use]
#[inline(always)]
pub fn victim(
    load: impl Fn(usize) -> Entry,
    any: impl Fn(u64) -> u64,
    now: Tick,
    timeouts: Timeouts,
) -> Option<(usize, Entry)> {
    // Readiness above the slot in one word, so that a maximum is all that is sought.
    let mut best = 0;
    let mut slot = 0;
    while slot < BUCKET_SLOTS {
        let readiness = any(load(slot).readiness(now, timeouts) as u64) as u32;
        best = best.max(readiness << 3 | slot as u32);
        slot += 1;
    }
    // It may be another flow's by now.
    let slot = best as usize & (BUCKET_SLOTS - 1);
    let entry = load(slot);
    if best >> 3 == 0 || entry.readiness(now, timeouts) == 0 {
        return None;
    }
    Some((slot, entry))
}

/// TCP flags that matter here (RFC 9293 section 3.1), as they lie in the 14th byte.
pub mod tcp {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    const TIMEOUTS: Timeouts = Timeouts::new([2, 234, 3, 4]);

    fn state() -> impl Strategy<Value = State> {
        prop::sample::select(State::ALL.to_vec())
    }

    fn entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            1 => Just(Entry::EMPTY),
            6 => (0u64..1 << FINGERPRINT_BITS, 1u16.., any::<u8>(), state())
                .prop_map(|(f, b, a, s)| Entry::new(f, b, a, s)),
        ]
    }

    proptest! {
        #[test]
        fn an_entry_gives_back_what_it_was_made_of(
            fingerprint in 0u64..1 << FINGERPRINT_BITS, backend in 1u16.., age: u8, state in state(),
        ) {
            let entry = Entry::new(fingerprint, backend, age, state);
            prop_assert!(entry.is(fingerprint) && !entry.is_empty());
            prop_assert!(!entry.is(fingerprint ^ 1));
            prop_assert_eq!((entry.backend(), entry.age(), entry.state()), (backend, age, state));
            let later = entry.touched(age.wrapping_add(1), State::Closing);
            prop_assert_eq!(
                later,
                Entry::new(fingerprint, backend, age.wrapping_add(1), State::Closing)
            );
            prop_assert_eq!(entry.touched(age, state), entry);
        }

        #[test]
        fn bucket_and_fingerprint_are_disjoint_bits(hash: u64, bits in 1u32..=24) {
            let (bucket, fingerprint) = place(hash, 64 - bits);
            prop_assert!(bucket < 1 << bits);
            // The other bits can all change without a trace in either.
            let unused = !(u64::MAX << (64 - bits) | ((1 << FINGERPRINT_BITS) - 1));
            prop_assert_eq!(place(hash ^ unused, 64 - bits), (bucket, fingerprint));
            prop_assert_ne!(place(hash ^ 1 << (64 - bits), 64 - bits).0, bucket);
            prop_assert_ne!(place(hash ^ 1, 64 - bits).1, fingerprint);
        }

        #[test]
        fn an_established_flow_is_never_the_victim(bucket: [u64; 8], now: u8) {
            if let Some((slot, old)) = victim(|i| Entry::from_bits(bucket[i]), |n| n, now, TIMEOUTS) {
                prop_assert_eq!(old.bits(), bucket[slot]);
                prop_assert!(
                    old.is_empty()
                        || old.is_expired(now, TIMEOUTS)
                        || matches!(old.state(), State::New | State::Closing)
                );
            } else {
                for bits in bucket {
                    let entry = Entry::from_bits(bits);
                    prop_assert!(!entry.is_empty() && !entry.is_expired(now, TIMEOUTS));
                    prop_assert!(matches!(entry.state(), State::Established | State::Assured));
                }
            }
        }

        #[test]
        fn the_victim_is_the_best_by_the_written_order(
            bucket in prop::array::uniform8(entry()), now: u8,
        ) {
            // The order as a person would write it down.
            let class = |e: Entry| match () {
                () if e.is_empty() => 0,
                () if e.is_expired(now, TIMEOUTS) => 1,
                () if e.state() == State::New => 2,
                () if e.state() == State::Closing => 3,
                () => 4,
            };
            let idle = |e: Entry| match now.wrapping_sub(e.age()) {
                _ if e.is_empty() => 0,
                248..=255 => 0,
                ticks => ticks,
            };
            let best = bucket.iter().map(|&e| (class(e), 255 - idle(e))).min().unwrap();
            match victim(|i| bucket[i], |n| n, now, TIMEOUTS) {
                Some((_, old)) => prop_assert_eq!((class(old), 255 - idle(old)), best),
                None => prop_assert_eq!(best.0, 4),
            }
        }

        /// New flows of every kind pour in; those that are established stay.
        #[test]
        fn a_flood_takes_no_established_place(
            flood in prop::collection::vec((0u64..1 << FINGERPRINT_BITS, 0u8..3), 0..300),
        ) {
            let bucket: [Cell<Entry>; 8] = std::array::from_fn(|i| {
                Cell::new(if i < 3 {
                    Entry::new(i as u64, 1, 0, State::Established)
                } else {
                    Entry::EMPTY
                })
            });
            let mut now = 0u8;
            for (fingerprint, step) in flood {
                // Time passes, but not so much that an established flow expires.
                now = (now + step).min(200);
                let fingerprint = fingerprint | 8;
                if find(|i| bucket[i].get(), fingerprint).is_none() {
                    let (slot, _) = victim(|i| bucket[i].get(), |n| n, now, TIMEOUTS).unwrap();
                    bucket[slot].set(Entry::new(fingerprint, 2, now, State::New));
                }
            }
            for i in 0..3 {
                prop_assert!(find(|i| bucket[i].get(), i).is_some());
            }
        }
    }

    #[test]
    fn tcp_states_follow_the_client() {
        use State::{Closing, Established, New};
        let rows = [
            (New, tcp::SYN, New),
            (New, tcp::ACK, Established),
            (New, tcp::ACK | tcp::RST, Closing),
            (Established, tcp::SYN, Established),
            (Established, tcp::ACK, Established),
            (Established, tcp::FIN | tcp::ACK, Closing),
            (Established, tcp::RST, Closing),
            (Closing, tcp::ACK, Closing),
        ];
        for (before, flags, after) in rows {
            assert_eq!(
                after_client(before, true, flags),
                after,
                "{before:?} {flags:#x}"
            );
        }
    }

    #[test]
    fn the_server_alone_establishes_nothing() {
        for flags in [tcp::SYN | tcp::ACK, tcp::ACK] {
            assert_eq!(after_server(State::New, true, flags), State::New);
        }
        assert_eq!(
            after_server(State::Established, true, tcp::FIN | tcp::ACK),
            State::Closing
        );
        assert_eq!(after_server(State::New, false, tcp::FIN), State::New);
    }

    #[test]
    fn a_second_datagram_assures_a_udp_flow() {
        assert_eq!(after_client(State::New, false, 0), State::Assured);
    }

    /// Another CPU's clock, or a sweep's, was read just before the tick.
    #[test]
    fn an_entry_of_the_next_tick_is_fresh() {
        for state in State::ALL {
            assert!(
                !Entry::new(1, 1, 7, state).is_expired(6, TIMEOUTS),
                "{state:?}"
            );
            assert!(
                !Entry::new(1, 1, 0, state).is_expired(255, TIMEOUTS),
                "{state:?}"
            );
        }
    }

    #[test]
    fn ages_wrap() {
        let entry = Entry::new(1, 1, 250, State::Closing);
        assert!(!entry.is_expired(253, TIMEOUTS));
        assert!(entry.is_expired(254, TIMEOUTS));
        assert!(entry.is_expired(3, TIMEOUTS));
    }
}
