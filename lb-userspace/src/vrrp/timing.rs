//! The times that follow from the advertisement interval.

use super::{Interval, Nanos, Version};

/// Intervals without an advertisement after which the active node is taken for dead.
const ADVERTISEMENTS: Nanos = 3;
/// The version 2 skew is in 256ths of this.
const SECOND: Nanos = 1_000_000_000;

/// Skew_Time: the higher the priority, the sooner a standby takes over. In version 2
/// 256ths of a second (RFC 3768 section 6.1), in version 3 256ths of the active node's
/// interval (RFC 9568 section 6.1).
pub(super) fn skew(priority: u8, interval: Interval) -> Nanos {
    let whole = match interval.version() {
        Version::V2 => SECOND,
        Version::V3 => interval.nanos(),
    };
    (256 - Nanos::from(priority)) * whole / 256
}

/// Active_Down_Interval (RFC 9568 section 6.1; RFC 3768: Master_Down_Interval): how
/// long a standby hears nothing before it takes over.
pub(super) fn down(priority: u8, interval: Interval) -> Nanos {
    ADVERTISEMENTS * interval.nanos() + skew(priority, interval)
}

/// How long an advertisement lets its sender hold the VIPs: what every standby waits,
/// whatever its priority, less the skew, which is more than 0.
pub fn lease(interval: Interval) -> Nanos {
    ADVERTISEMENTS * interval.nanos()
}

/// How long a node that has resigned waits for a standby to show itself: the longest
/// skew and the margin.
pub(super) fn linger(interval: Interval) -> Nanos {
    skew(1, interval) + margin(interval)
}

/// What a packet and a timer may take on top of the times of the protocol.
pub(super) fn margin(interval: Interval) -> Nanos {
    interval.nanos() / 4
}

/// The least time between two advertisements, so that whoever provokes answers
/// can't provoke a flood of them.
pub(super) fn spacing(interval: Interval) -> Nanos {
    interval.nanos() / 8
}
