//! How often the active node advertises itself.

use std::{fmt, time::Duration};

use super::{Nanos, Version};

/// A centisecond, in nanoseconds.
const CENTISECOND: Nanos = 10_000_000;

/// An advertisement interval that its version of VRRP can carry: in version 2
/// whole seconds from 1 to 255 (RFC 3768 section 5.3.7), in version 3 centiseconds
/// from 1 to 4,095 (RFC 9568 section 5.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    version: Version,
    centiseconds: u16,
}

/// An interval that the version of VRRP can't carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// Version 2 counts whole seconds.
    #[error(
        "VRRP version 2 takes an interval of 1 s to 255 s in whole seconds; use version 3 for others"
    )]
    Version2,
    /// Version 3 counts centiseconds in 12 bits.
    #[error("VRRP version 3 takes an interval of 10 ms to 40.95 s in steps of 10 ms")]
    Version3,
}

impl Interval {
    /// The interval of `duration`, which has to be one that `version` can carry exactly.
    ///
    /// # Errors
    /// Says what `version` takes.
    pub fn new(version: Version, duration: Duration) -> Result<Self, IntervalError> {
        let nanos = duration.as_nanos();
        let step = u128::from(CENTISECOND);
        let exact = nanos.is_multiple_of(step).then_some(nanos / step);
        exact
            .and_then(|count| u16::try_from(count).ok())
            .and_then(|count| Self::from_centiseconds(version, count))
            .ok_or(match version {
                Version::V2 => IntervalError::Version2,
                Version::V3 => IntervalError::Version3,
            })
    }

    /// As the version 2 header has it, in seconds; 0 is no interval.
    pub(super) fn from_seconds(seconds: u8) -> Option<Self> {
        Self::from_centiseconds(Version::V2, u16::from(seconds) * 100)
    }

    /// In centiseconds, as the version 3 header has it; `None` if `version` can't carry it.
    pub fn from_centiseconds(version: Version, centiseconds: u16) -> Option<Self> {
        let fits = match version {
            Version::V2 => {
                (100..=25_500).contains(&centiseconds) && centiseconds.is_multiple_of(100)
            }
            Version::V3 => (1..=0x0fff).contains(&centiseconds),
        };
        fits.then_some(Self {
            version,
            centiseconds,
        })
    }

    /// The version of VRRP that carries it.
    pub fn version(self) -> Version {
        self.version
    }

    /// In centiseconds.
    pub fn centiseconds(self) -> u16 {
        self.centiseconds
    }

    /// In nanoseconds.
    pub fn nanos(self) -> Nanos {
        Nanos::from(self.centiseconds) * CENTISECOND
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.nanos()))
    }
}
