//! Keeps whoever floods the sockets from having the processor too.

use crate::vrrp::Nanos;

/// How long packets are counted.
const WINDOW: Nanos = 1_000_000;
/// More packets than this in that time are a flood: no group has so many peers.
const MANY: usize = 32;

/// How many packets came of late.
#[derive(Debug, Default)]
pub struct Flood {
    since: Nanos,
    packets: usize,
}

impl Flood {
    /// After a turn from `began` to `ended` in which `received` packets were read: until when to look
    /// at no more, unless something is due. At least as long as the turn took, so half
    /// of the time is left to others (and the kernel doesn't stop a real-time
    /// thread that takes nearly all).
    pub fn pause(&mut self, received: usize, began: Nanos, ended: Nanos) -> Option<Nanos> {
        if began >= self.since + WINDOW {
            self.since = began;
            self.packets = 0;
        }
        self.packets += received;
        let flooded = self.packets > MANY;
        flooded.then(|| (self.since + WINDOW).max(ended + (ended - began)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Nanos = 5 * WINDOW;

    #[test]
    fn few_packets_are_read_at_once() {
        let mut flood = Flood::default();
        for turn in 0..100 {
            let began = BEGIN + turn * WINDOW / 10;
            assert_eq!(flood.pause(3, began, began + 10), None);
        }
    }

    #[test]
    fn many_wait_for_the_next_window() {
        let mut flood = Flood::default();
        assert_eq!(flood.pause(MANY, BEGIN, BEGIN + 10), None);
        assert_eq!(flood.pause(1, BEGIN + 20, BEGIN + 30), Some(BEGIN + WINDOW));
        assert_eq!(flood.pause(1, BEGIN + WINDOW, BEGIN + WINDOW + 10), None);
    }

    #[test]
    fn a_long_turn_is_followed_by_as_long_a_pause() {
        let ended = BEGIN + 3 * WINDOW;
        let pause = Flood::default().pause(MANY + 1, BEGIN, ended);
        assert_eq!(pause, Some(ended + 3 * WINDOW));
    }
}
