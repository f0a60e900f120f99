//! How long flows are remembered, and the clock that counts it.

use std::time::Duration;

use lb_common::flow;

/// Ticks that the longest timeout and [`GRACE`] fit in: well below
/// [`flow::FUTURE`], where ages wrap.
const MOST_TICKS: u128 = 240;

/// How long after its timeout an entry's age still shows that: a few sweeps.
const GRACE: Duration = Duration::from_secs(30);

/// No tick is shorter: each lets every busy flow's entry be written once.
const SHORTEST_TICK: Duration = Duration::from_millis(500);

/// `[timeouts]`: how long flows are remembered without a packet. The coarse
/// clock rounds each up to one or two of its ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// One packet was seen.
    pub syn: Duration,
    /// TCP: the client went on after its first packet.
    pub established: Duration,
    /// TCP: a FIN or RST was seen.
    pub closing: Duration,
    /// UDP: the client went on after its first datagram.
    pub udp: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // What conntrack gives a SYN that was answered.
            syn: Duration::from_secs(60),
            // Just over TCP's keepalive of two hours.
            established: Duration::from_secs(7_500),
            closing: Duration::from_secs(60),
            // As conntrack's stream.
            udp: Duration::from_secs(120),
        }
    }
}

/// Timeouts in the data plane's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// By how many bits the kernel's jiffies are shifted to make a tick.
    pub tick_shift: u32,
    /// The timeouts in ticks.
    pub timeouts: flow::Timeouts,
}

impl Timeouts {
    /// Each timeout beside its key, in the order of [`flow::State::ALL`].
    #[must_use]
    pub fn all(&self) -> [(&'static str, Duration); 4] {
        [
            ("syn", self.syn),
            ("established", self.established),
            ("closing", self.closing),
            ("udp", self.udp),
        ]
    }

    /// The longest of them beside its key.
    #[must_use]
    pub fn longest(&self) -> (&'static str, Duration) {
        let [first, rest @ ..] = self.all();
        rest.into_iter().fold(
            first,
            |longest, one| {
                if one.1 > longest.1 { one } else { longest }
            },
        )
    }

    /// The clock that counts them on a kernel with timer interrupts every `jiffy`
    /// (at least 1 ns): the finest one whose ages last long enough.
    #[must_use]
    pub fn clock(&self, jiffy: Duration) -> Clock {
        let tick_shift = tick_shift(self.longest().1, jiffy);
        let tick = jiffy.as_nanos().max(1) << tick_shift;
        let ticks = self
            .all()
            .map(|(_, timeout)| timeout.as_nanos().div_ceil(tick).min(MOST_TICKS) as u8);
        Clock {
            tick_shift,
            timeouts: flow::Timeouts::new(ticks),
        }
    }

    /// The longest tick that any usual kernel counts them with.
    #[must_use]
    pub fn coarsest_tick(&self) -> Duration {
        // The timer frequencies that Linux can be built with, in Hz.
        let ticks = [100, 250, 300, 1_000].map(|frequency| {
            let jiffy = Duration::from_secs(1) / frequency;
            jiffy * (1 << tick_shift(self.longest().1, jiffy))
        });
        ticks.into_iter().fold(Duration::ZERO, Duration::max)
    }
}

fn tick_shift(longest: Duration, jiffy: Duration) -> u32 {
    let lasting = longest
        .saturating_add(GRACE)
        .as_nanos()
        .div_ceil(MOST_TICKS);
    let least = lasting.max(SHORTEST_TICK.as_nanos());
    let jiffies = least.div_ceil(jiffy.as_nanos().max(1));
    // Far more than the longest timeout needs, and few enough to shift by.
    jiffies.next_power_of_two().ilog2().min(31)
}

#[cfg(test)]
mod tests {
    use lb_common::flow::State;

    use super::*;

    const FREQUENCIES: [u32; 4] = [100, 250, 300, 1_000];

    #[test]
    fn two_idle_hours_fit_under_every_timer_frequency() {
        for hz in FREQUENCIES {
            let clock = Timeouts::default().clock(Duration::from_secs(1) / hz);
            let tick = f64::from(1 << clock.tick_shift) / f64::from(hz);
            let idle = f64::from(clock.timeouts.of(State::Established)) * tick;
            assert!((30.0..60.0).contains(&tick), "{hz}: {tick}");
            assert!(idle >= 7_500.0 && idle < 7_500.0 + tick, "{hz}: {idle}");
        }
    }

    #[test]
    fn short_timeouts_are_counted_finely_and_swept_before_ages_wrap() {
        for seconds in [1, 20, 100, 1_000, 86_400] {
            let all = Duration::from_secs(seconds);
            let timeouts = Timeouts {
                syn: all,
                established: all,
                closing: all,
                udp: all,
            };
            for hz in FREQUENCIES {
                let jiffy = Duration::from_secs(1) / hz;
                let clock = timeouts.clock(jiffy);
                let tick = jiffy * (1 << clock.tick_shift);
                let ticks = clock.timeouts.of(State::New);
                assert!(tick * u32::from(ticks) >= all);
                assert!(tick * u32::from(ticks - 1) < all);
                assert!(tick <= timeouts.coarsest_tick() && tick >= SHORTEST_TICK);
                let swept = tick * u32::from(flow::FUTURE - ticks - 1);
                assert!(swept >= Duration::from_secs(25), "{seconds} s, {hz} Hz");
            }
        }
    }
}
