//! Arithmetic of the data plane's that its compiler would do in more instructions, or by branches.

/// What there is of it, each as anybody would write it. The data plane has its own, of which the
/// compiler knows nothing.
pub trait Arithmetic {
    /// The same number, but so that the compiler doesn't know where it came from.
    #[inline(always)]
    #[must_use]
    fn opaque(number: u64) -> u64 {
        number
    }

    /// The bits in which two numbers differ.
    #[inline(always)]
    #[must_use]
    fn differ(one: u64, other: u64) -> u64 {
        one ^ other
    }

    /// The lesser of two numbers below 2^63.
    #[inline(always)]
    #[must_use]
    fn less(one: u64, other: u64) -> u64 {
        one.min(other)
    }
}

/// As anybody would write it.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Arithmetic for Plain {}
