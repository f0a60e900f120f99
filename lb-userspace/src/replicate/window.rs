//! Which sequence numbers were received: a window that slides (RFC 6479).

/// Words of the ring. One of them is being filled, so the window is a word shorter.
const RING: u64 = 64;
/// Numbers that the window tells apart behind the highest one: more than a sender has in flight.
const WIDTH: u64 = (RING - 1) * 64;

/// Which numbers have been received.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// One more than the highest number received.
    next: u64,
    ring: [u64; RING as usize],
}

/// What is known of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Not received yet.
    New,
    /// Received before.
    Before,
    /// Too far behind to know.
    TooOld,
}

impl Window {
    pub(super) fn new() -> Self {
        Window {
            next: 0,
            ring: [0; RING as usize],
        }
    }

    /// What is known of this number. Changes nothing, for whoever sent it may have forged it.
    pub(super) fn look(&self, number: u64) -> Seen {
        if number >= self.next {
            return Seen::New;
        }
        if self.next - number > WIDTH {
            return Seen::TooOld;
        }
        match self.ring[(number / 64 % RING) as usize] >> (number % 64) & 1 {
            0 => Seen::New,
            _ => Seen::Before,
        }
    }

    /// Notes an authenticated number for which [`Window::look`] said [`Seen::New`].
    pub(super) fn note(&mut self, number: u64) {
        if number >= self.next {
            // Words that the window now reaches for the first time hold numbers of the round before.
            let (from, to) = (self.next.div_ceil(64), number / 64);
            for word in from..=to.min(from.saturating_add(RING - 1)) {
                self.ring[(word % RING) as usize] = 0;
            }
            self.next = number.saturating_add(1);
        }
        self.ring[(number / 64 % RING) as usize] |= 1 << (number % 64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Steps of all sizes, forward and back, against a set of all numbers.
        #[test]
        fn the_window_knows_what_was_received(
            steps in prop::collection::vec((0u32..14, any::<u16>(), any::<bool>()), 1..400),
        ) {
            let (mut window, mut seen) = (Window::new(), HashSet::new());
            let (mut at, mut highest) = (0u64, None::<u64>);
            for (bits, step, forward) in steps {
                let step = u64::from(step) & ((1 << bits) - 1);
                at = if forward { at + step } else { at.saturating_sub(step) };
                let expected = match highest {
                    Some(highest) if at <= highest && highest - at >= WIDTH => Seen::TooOld,
                    _ if seen.contains(&at) => Seen::Before,
                    _ => Seen::New,
                };
                prop_assert_eq!(window.look(at), expected, "{}", at);
                if expected == Seen::New {
                    window.note(at);
                    seen.insert(at);
                    highest = highest.max(Some(at));
                }
            }
        }
    }

    #[test]
    fn the_last_number_is_one_too() {
        let mut window = Window::new();
        window.note(u64::MAX - 1);
        assert_eq!(window.look(u64::MAX - 1), Seen::Before);
        assert_eq!(window.look(5), Seen::TooOld);
    }
}
