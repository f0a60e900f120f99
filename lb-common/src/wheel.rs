//! Wheels: a scheduler is an array of backend numbers and a way to index it.

mod maglev;
mod smooth;

pub use self::{
    maglev::{Turns, fill_maglev, maglev_length},
    smooth::{Class, apportion, fill_smooth, smooth_length},
};

/// Which index of a service's wheel a new flow takes. The data plane knows no
/// more of a scheduler than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Index {
    /// One after the other, counted by each CPU for itself.
    Counter = 0,
    /// The flow's hash.
    Hash = 1,
    /// The hash of the client's address, or of its prefix.
    Source = 2,
    /// A random number.
    Random = 3,
    /// Two random numbers: of the two backends that with less load for its weight.
    Load = 4,
}

impl Index {
    /// From the byte in a record; what it doesn't know is [`Index::Counter`].
    #[must_use]
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Index::Hash,
            2 => Index::Source,
            3 => Index::Random,
            4 => Index::Load,
            _ => Index::Counter,
        }
    }

    /// Whether all packets of a flow find the same place, so that a wheel that doesn't
    /// change needs no memory of flows.
    #[must_use]
    pub const fn is_steady(self) -> bool {
        matches!(self, Index::Hash | Index::Source)
    }
}

/// One place of a wheel: the backend that has it and, while it changes hands, what becomes
/// of the flows that it had before.
///
/// A place that nobody has taken over has backend 0: what begins there is dropped.
///
/// Flows that are in the flow table follow their entry, but in a stable place, where none
/// is looked up. Services that remember every flow have stable places only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Slot(u32);

impl Slot {
    /// All packets go to `backend`.
    #[must_use]
    #[inline(always)]
    pub const fn stable(backend: u16) -> Self {
        Slot(backend as u32 | (backend as u32) << 16)
    }

    /// New connections go to `backend` and are entered in the flow table. What isn't there
    /// began before: it goes to `before`, and is entered too.
    #[must_use]
    #[inline(always)]
    pub const fn moving(backend: u16, before: u16) -> Self {
        Slot(backend as u32 | (before as u32) << 16)
    }

    /// All packets go to `backend`, but for flows that the table has with another; no flow
    /// is entered any more.
    #[must_use]
    #[inline(always)]
    pub const fn tracked(backend: u16) -> Self {
        Slot(backend as u32)
    }

    /// From the word in the map.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Slot(bits)
    }

    /// The word in the map.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The backend that has the place.
    #[must_use]
    #[inline(always)]
    pub const fn backend(self) -> u16 {
        self.0 as u16
    }

    /// The backend that had it, of a moving one; 0 of a tracked one; of a stable one the
    /// same.
    #[must_use]
    #[inline(always)]
    pub const fn before(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The backend of flows that the table doesn't know, but for those that begin now.
    #[must_use]
    #[inline(always)]
    pub const fn of_unknown(self) -> u16 {
        if self.is_tracked() {
            self.backend()
        } else {
            self.before()
        }
    }

    /// Whether it is stable.
    #[must_use]
    #[inline(always)]
    pub const fn is_stable(self) -> bool {
        self.0 as u16 == (self.0 >> 16) as u16
    }

    /// Whether it is tracked.
    #[must_use]
    #[inline(always)]
    pub const fn is_tracked(self) -> bool {
        self.before() == 0 && self.backend() != 0
    }
}
