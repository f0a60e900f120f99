//! Datagrams that aren't acknowledged yet.

use std::collections::VecDeque;

use super::{
    MILLISECOND, Which,
    wire::{ACK_WORDS, Ack},
};

/// Most datagrams on their way: fewer than an acknowledgement can tell of, for marks have numbers too.
const MOST: u64 = ACK_WORDS as u64 * 64 - 64;
/// The longest wait for an acknowledgement: peers are at most a third of it away.
const LONGEST: u64 = 300 * MILLISECOND;

/// What a datagram tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Load {
    /// A part of the roster.
    Roster(u16),
    /// Single slots.
    Slots(Which, Vec<u32>),
    /// All slots from the first to before the second.
    Cover(Which, u32, u32),
}

#[derive(Debug)]
struct Sent {
    number: u64,
    at: u64,
    load: Load,
}

/// The datagrams on their way, in the order of their numbers.
#[derive(Debug)]
pub(super) struct Flight {
    sent: VecDeque<Sent>,
    least_wait: u64,
    wait: u64,
    /// The wait grows once for all that were lost together.
    grown: u64,
}

impl Flight {
    /// Datagrams are given up after `least_wait` nanoseconds, or later where the peer takes longer.
    pub(super) fn new(least_wait: u64) -> Self {
        Flight {
            sent: VecDeque::new(),
            least_wait,
            wait: least_wait,
            grown: 0,
        }
    }

    /// Whether a datagram with this number may be sent.
    pub(super) fn has_room(&self, next: u64) -> bool {
        next - self.floor(next) < MOST
    }

    /// How many more datagrams may be sent when `next` is the next number.
    pub(super) fn room(&self, next: u64) -> usize {
        MOST.saturating_sub(next - self.floor(next)) as usize
    }

    /// The lowest number that is waited for; `next` if none is.
    pub(super) fn floor(&self, next: u64) -> u64 {
        self.sent.front().map_or(next, |sent| sent.number)
    }

    pub(super) fn add(&mut self, number: u64, now: u64, load: Load) {
        let at = now;
        self.sent.push_back(Sent { number, at, load });
    }

    /// Takes out what has arrived.
    pub(super) fn acknowledged(&mut self, ack: &Ack, now: u64) -> Vec<Load> {
        let mut arrived = Vec::new();
        for sent in std::mem::take(&mut self.sent) {
            if !ack.has(sent.number) {
                self.sent.push_back(sent);
                continue;
            }
            let enough = (now.saturating_sub(sent.at) * 3).clamp(self.least_wait, LONGEST);
            // Down at once: it only grows where nothing arrives in time.
            self.wait = (self.wait + enough) / 2;
            arrived.push(sent.load);
        }
        arrived
    }

    /// When something is to be given up; never if nothing is on its way.
    pub(super) fn due(&self) -> u64 {
        self.sent
            .front()
            .map_or(u64::MAX, |sent| sent.at + self.wait)
    }

    /// Takes out what is waited for no longer.
    pub(super) fn given_up(&mut self, now: u64) -> Vec<Load> {
        let mut lost = Vec::new();
        while self
            .sent
            .front()
            .is_some_and(|sent| now >= sent.at + self.wait)
        {
            lost.extend(self.sent.pop_front().map(|sent| sent.load));
        }
        if !lost.is_empty() && now >= self.grown + self.wait {
            // Where the way is longer than the wait, nothing would ever be acknowledged in time.
            self.grown = now;
            self.wait = (self.wait * 2).min(LONGEST);
        }
        lost
    }
}
