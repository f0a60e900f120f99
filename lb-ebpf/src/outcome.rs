//! What became of a packet, in one word: what isn't inlined gives back no more.

use lb_common::{
    limits,
    verdict::{VERDICT_SLOTS, Verdict},
};

use crate::{
    icmp,
    ip::Ip,
    maps::{BackendRef, HopRef},
    node,
    packet::opaque,
    rewrite::{self, Way},
};

/// What became of a packet, where it leaves if it is sent (`s`), and the backend that counts it: as
/// one for a client if `c` is set, else as one for itself. Or the step that the packet takes
/// next, and what that is told:
///
/// ```text
/// 63     48 47       32 31 30 29               8         3 2  0
/// +--------+-----------+--+--+--+--------------+---------+----+
/// | counts | egress    | 0| s| c|              | verdict |    |
/// +--------+------+----+--+--+--+------------+-+---------+----+
/// | number    | v | step   | 1| backend       | small         |
/// +-----------+---+--------+--+---------------+---------------+
/// 63        41 40  39    32    27           12 11             0
/// ```
///
/// Verdict and backend lie where few instructions make a counter's place of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outcome(u64);

/// Steps that have a stack of their own, which all of them together wouldn't fit in: a
/// packet comes back to [`crate::steps::run`] between them.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum Step {
    /// All that isn't plain: tags, options, extensions, fragments.
    General = 1,
    /// To a server in `full-nat`, of a plain packet. Number: the slot of its service.
    PlainFull = 15,
    /// As [`Step::FromFull`], of a plain packet. Number: the slot of the address.
    PlainFromFull = 18,
    /// A question that we may answer.
    Question = 2,
    /// The answer of a server in `nat`, which is that backend.
    Answer = 20,
    /// A later fragment.
    Fragment = 3,
    /// To or from a server in `full-nat`.
    Full = 4,
    /// To a server in `full-nat`: number of the flow's port; small: the verdict.
    ToFull = 5,
    /// From a server in `full-nat`, perhaps.
    FromFull = 6,
    /// An ICMP error. Small, in this step and those below: where the message begins.
    Error = 7,
    /// An ICMP error to an address of the pool, perhaps.
    ErrorToPool = 8,
    /// An ICMP error for a client of `nat`, perhaps.
    ErrorToClient = 9,
    /// An ICMP error for a client of `nat`, about what it has sent to the backend.
    ErrorAbout = 10,
    /// An ICMP error about a tunnel's packet, perhaps.
    ErrorInTunnel = 11,
    /// An ICMP error about what we have sent from the port of that number.
    ErrorFromPort = 12,
    /// An ICMP error about what the backend has sent; number: see [`Way::number`].
    ErrorToBackend = 13,
    /// To a backend of a service whose wheel changes at the flow's place.
    Changing = 16,
    /// To the backend that was chosen; number: the spread; small: the verdict.
    Chosen = 17,
    /// To a backend behind a tunnel; number: the spread; small: the verdict.
    Tunnel = 14,
    /// Too long for its way, see [`Outcome::too_big`].
    TooBig = 19,
}

/// Set in what isn't a verdict yet.
const STEP: u64 = 1 << 31;
const SMALL: u64 = (1 << BACKEND_BIT) - 1;
const BACKEND_BIT: u32 = 12;
const STEP_BIT: u32 = 32;
const FAMILY_BIT: u32 = 40;
const NUMBER_BIT: u32 = 41;
const NUMBER_BITS: u32 = 64 - NUMBER_BIT;
const _: () = assert!(BACKEND_BIT + 16 <= 31);
/// Set where the packet is sent. (Flags are in the lower half, where one instruction asks for them.)
const SENT: u64 = 1 << 30;
/// Set in a verdict about a packet for a client.
const TO_CLIENT: u64 = 1 << 29;
const VERDICT_BIT: u32 = 3;
const VERDICT: u64 = (VERDICT_SLOTS as u64 - 1) << VERDICT_BIT;
const COUNTS_BIT: u32 = 48;
const EGRESS_BIT: u32 = 32;
const _: () = assert!(limits::MAX_INTERFACES as u64 <= 1 << (COUNTS_BIT - EGRESS_BIT));
// Whatever is there, counters' maps have a record for it.
const _: () = assert!(limits::MAX_BACKENDS as u64 + 1 == 1 << (64 - COUNTS_BIT));
const _: () = assert!((icmp::NO_PORT as u64) < 1 << NUMBER_BITS);
const _: () = assert!(limits::ENDPOINT_SLOTS as u64 <= 1 << NUMBER_BITS);
const _: () = assert!(rewrite::SPREAD_BITS <= NUMBER_BITS);
const _: () = assert!((limits::MAX_POOL as u64) << 16 <= 1 << NUMBER_BITS);

impl Outcome {
    /// It isn't sent.
    #[inline(always)]
    #[must_use]
    pub fn here(verdict: Verdict) -> Self {
        Outcome::numbered(verdict as u32)
    }

    /// The same, on a way that packets hardly ever take: the verdict is noted there, not ahead of the
    /// comparison that leads there.
    #[inline(always)]
    #[must_use]
    pub fn seldom(verdict: Verdict) -> Self {
        Outcome(opaque(Outcome::here(verdict).0))
    }

    /// It isn't sent; the verdict has that number.
    #[inline(always)]
    #[must_use]
    pub fn numbered(verdict: u32) -> Self {
        Outcome(u64::from(verdict) << VERDICT_BIT)
    }

    /// It leaves by the interface that it came by.
    #[inline(always)]
    #[must_use]
    pub fn back(verdict: Verdict) -> Self {
        Outcome(Outcome::here(verdict).0 | SENT | node::egress() << EGRESS_BIT)
    }

    /// It leaves for a next hop.
    #[inline(always)]
    #[must_use]
    pub fn to(verdict: Verdict, hop: HopRef) -> Self {
        Outcome(Outcome::here(verdict).0 | SENT | u64::from(hop.egress()) << EGRESS_BIT)
    }

    /// It leaves for a backend, which counts it, with the verdict of that number.
    #[inline(always)]
    #[must_use]
    pub fn to_backend(verdict: u32, backend: BackendRef) -> Self {
        let egress = u64::from(backend.egress()) << EGRESS_BIT;
        let counts = u64::from(backend.number()) << COUNTS_BIT;
        Outcome(Outcome::numbered(verdict).0 | SENT | egress | counts)
    }

    /// It came from a backend for its client, and the backend counts it.
    #[inline(always)]
    #[must_use]
    pub fn from_backend(self, backend: BackendRef) -> Self {
        Outcome(self.0 | TO_CLIENT | u64::from(backend.number()) << COUNTS_BIT)
    }

    /// It takes another step.
    #[inline(always)]
    #[must_use]
    pub fn next<I: Ip>(step: Step) -> Self {
        Outcome(STEP | (step as u64) << STEP_BIT | (I::FAMILY as u64) << FAMILY_BIT)
    }

    /// The next step is told a small number: below 4,096.
    #[inline(always)]
    #[must_use]
    pub fn with(self, small: usize) -> Self {
        Outcome(self.0 | small as u64 & SMALL)
    }

    /// The next step is told a backend.
    #[inline(always)]
    #[must_use]
    pub fn with_backend(self, backend: BackendRef) -> Self {
        Outcome(self.0 | u64::from(backend.number()) << BACKEND_BIT)
    }

    /// The next step is told a number of 23 bits.
    #[inline(always)]
    #[must_use]
    pub fn with_number(self, number: u32) -> Self {
        Outcome(self.0 | u64::from(number) << NUMBER_BIT)
    }

    /// The next step is told the lengths, in bytes, of an IP packet and of what its way takes.
    #[inline(always)]
    #[must_use]
    pub fn too_big<I: Ip>(length: u16, mtu: u16) -> Self {
        Outcome(Outcome::next::<I>(Step::TooBig).0 | u64::from(length) << BACKEND_BIT)
            .with_number(u32::from(mtu))
    }

    /// What [`Outcome::too_big`] told.
    #[inline(always)]
    #[must_use]
    pub fn told_lengths(self) -> (u16, u16) {
        ((self.0 >> BACKEND_BIT) as u16, self.told_number() as u16)
    }

    /// The next step is told the way to a backend, with the spread of its flow; and the
    /// number of the verdict that is to be.
    #[inline(always)]
    #[must_use]
    pub fn told_way<I: Ip>(step: Step, way: Way, verdict: u32) -> Self {
        Outcome::next::<I>(step)
            .with(verdict as usize)
            .with_backend(way.backend)
            .with_number(way.spread())
    }

    /// What [`Outcome::with`] told.
    #[inline(always)]
    #[must_use]
    pub fn small(self) -> usize {
        (self.0 & SMALL) as usize
    }

    /// What [`Outcome::with_backend`] told.
    #[inline(always)]
    #[must_use]
    pub fn backend(self) -> BackendRef {
        BackendRef::get((self.0 >> BACKEND_BIT) as u16)
    }

    /// What [`Outcome::with_number`] told.
    #[inline(always)]
    #[must_use]
    pub fn told_number(self) -> u32 {
        (self.0 >> NUMBER_BIT) as u32
    }

    /// Whether it isn't a verdict yet.
    #[inline(always)]
    #[must_use]
    pub fn is_step(self) -> bool {
        self.0 & STEP != 0
    }

    /// Whether its next step is this one.
    #[inline(always)]
    #[must_use]
    pub fn takes<I: Ip>(self, step: Step) -> bool {
        const STEP_BITS: u64 = ((1 << NUMBER_BIT) - 1) & !((1 << STEP_BIT) - 1) | STEP;
        self.0 & STEP_BITS == Outcome::next::<I>(step).0
    }

    /// The verdict's number, where it is one.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> u32 {
        ((self.0 & VERDICT) >> VERDICT_BIT) as u32
    }

    /// Whether it is sent.
    #[inline(always)]
    #[must_use]
    pub fn is_sent(self) -> bool {
        has::<SENT>(self.0)
    }

    /// Whether the verdict's number is below that, where it is one.
    #[inline(always)]
    #[must_use]
    pub fn is_below(self, number: u32) -> bool {
        self.0 & VERDICT < Outcome::numbered(number).0
    }

    /// Whether this is the verdict, where it is one.
    #[inline(always)]
    #[must_use]
    pub fn is(self, verdict: Verdict) -> bool {
        self.0 & VERDICT == Outcome::here(verdict).0
    }

    /// Where counters of `SIZE` bytes for each verdict have this one's, in bytes, where it is one.
    #[inline(always)]
    #[must_use]
    pub fn verdict_offset<const SIZE: usize>(self) -> usize {
        const { assert!(SIZE == 1 << VERDICT_BIT) };
        (self.0 & VERDICT) as usize
    }

    /// Where records of `SIZE` bytes for each backend have that of the one that counts it, in bytes; 0
    /// where none does.
    #[inline(always)]
    #[must_use]
    pub fn backend_offset<const SIZE: usize>(self) -> usize {
        const { assert!(SIZE.is_power_of_two()) };
        (self.0 >> (COUNTS_BIT - SIZE.ilog2())) as usize & !(SIZE - 1)
    }

    /// Whether the backend counts it as one for a client.
    #[inline(always)]
    #[must_use]
    pub fn is_to_client(self) -> bool {
        has::<TO_CLIENT>(self.0)
    }

    /// The place in the device map of the interface that it leaves by.
    #[inline(always)]
    #[must_use]
    pub fn egress(self) -> u32 {
        u32::from((self.0 >> EGRESS_BIT) as u16)
    }

    /// From the word that a step gives back.
    #[inline(always)]
    #[must_use]
    pub fn from_word(word: u64) -> Self {
        Outcome(word)
    }

    /// In one word.
    #[inline(always)]
    #[must_use]
    pub fn word(self) -> u64 {
        self.0
    }
}

/// Whether a bit of the lower half of a word is set: one instruction, where the compiler takes three.
#[inline(always)]
fn has<const BIT: u64>(word: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    {
        // SAFETY: a comparison.
        unsafe {
            core::arch::asm!("if {0} & {1} goto {2}", in(reg) word, const BIT, label { return true }, options(nomem, nostack));
        }
        false
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        word & BIT != 0
    }
}
