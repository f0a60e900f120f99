//! When probes had to wait.

use std::time::Duration;

use super::probe::{PACE, Probe};

/// An answer that takes longer had to wait for something: the way itself takes a tenth of it.
const PROMPT: Duration = Duration::from_millis(1);

/// Times that don't overlap, in their order.
#[derive(Debug)]
pub struct Waits(Vec<(Duration, Duration)>);

impl Waits {
    /// Nobody waited.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// When these waited: to be sent, since they were due, and for their answers. Those that
    /// have none are lost, not waiting.
    pub fn of(probes: &[Probe]) -> Self {
        let mut waits: Vec<(Duration, Duration)> = Vec::new();
        let mut due = Duration::MAX;
        for probe in probes {
            // A thread that isn't run sends nothing that could be late.
            let begin = probe.at.min(due);
            due = probe.at + PACE;
            let Some(end) = probe.answered.filter(|end| *end - begin > PROMPT) else {
                continue;
            };
            match waits.last_mut() {
                Some(last) if begin <= last.1 => last.1 = last.1.max(end),
                _ => waits.push((begin, end)),
            }
        }
        Self(waits)
    }

    /// How much of the time from `from` to `to` they waited.
    pub fn within(&self, from: Duration, to: Duration) -> Duration {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        let waits = self.0[first..].iter().take_while(|(begin, _)| *begin < to);
        waits
            .map(|(begin, end)| (*end).min(to) - (*begin).max(from))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn waits_are_joined_and_cut() {
        let probe = |sent, answered: u64| Probe {
            at: at(sent),
            answered: Some(at(answered)),
        };
        let lost = Probe {
            at: at(3),
            answered: None,
        };
        let probes = [
            probe(0, 0),
            probe(1, 1),
            probe(2, 9),
            lost,
            probe(4, 12),
            probe(5, 11),
            probe(6, 6),
            // Nothing was sent for twenty milliseconds.
            probe(26, 26),
            probe(27, 28),
            probe(28, 31),
        ];
        let waits = Waits::of(&probes);
        assert_eq!(waits.within(at(0), at(40)), at(24 + 3));
        assert_eq!(waits.within(at(3), at(13)), at(10));
        assert_eq!(waits.within(at(26), at(28)), at(0));
        assert_eq!(waits.within(at(29), at(30)), at(1));
        assert_eq!(Waits::none().within(at(0), at(40)), at(0));
    }
}
