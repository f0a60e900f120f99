//! When the network is told where the VIPs are.

use super::Nanos;

/// A series of announcements (gratuitous ARP, unsolicited neighbour advertisements):
/// several, since any may be lost, and never more often than every `every`.
#[derive(Debug, Clone)]
pub(super) struct Series {
    count: u32,
    every: Nanos,
    left: u32,
    next: Nanos,
}

impl Series {
    pub fn new(count: u32, every: Nanos) -> Self {
        Self {
            count,
            every,
            left: 0,
            next: 0,
        }
    }

    /// Announce from now on, the full count again.
    pub fn restart(&mut self) {
        self.left = self.count;
    }

    /// No more.
    pub fn stop(&mut self) {
        self.left = 0;
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Nanos> {
        (self.left > 0).then_some(self.next)
    }

    /// Whether one is due `now`; it then counts as made.
    pub fn take(&mut self, now: Nanos) -> bool {
        let due = self.next().is_some_and(|next| next <= now);
        if due {
            self.left -= 1;
            self.next = now + self.every;
        }
        due
    }
}
