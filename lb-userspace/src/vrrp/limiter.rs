//! Says the same thing rarely.

use std::net::IpAddr;

use super::Nanos;

/// Between two reports of the same.
const EVERY: Nanos = 10_000_000_000;
/// Different things that are remembered; what comes beyond them waits until one is forgotten, so
/// that whoever forges senders gets no more said.
const REMEMBERED: usize = 64;

/// Lets each peer's each kind through once in ten seconds.
#[derive(Debug)]
pub struct Limiter<K>(Vec<(IpAddr, K, Nanos)>);

impl<K: PartialEq> Limiter<K> {
    pub fn new() -> Self {
        Self(Vec::with_capacity(REMEMBERED))
    }

    /// Whether to say it `now`.
    pub fn admits(&mut self, from: IpAddr, kind: K, now: Nanos) -> bool {
        self.0.retain(|&(.., at)| now < at + EVERY);
        let said = self
            .0
            .iter()
            .any(|(who, what, _)| (who, what) == (&from, &kind));
        let admitted = !said && self.0.len() < REMEMBERED;
        if admitted {
            self.0.push((from, kind, now));
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn the_same_is_said_once_in_ten_seconds() {
        let mut limiter = Limiter::new();
        assert!(limiter.admits(PEER, "a", 5));
        assert!(!limiter.admits(PEER, "a", 5 + EVERY - 1));
        assert!(limiter.admits(PEER, "b", 6), "something else");
        assert!(
            limiter.admits(Ipv4Addr::LOCALHOST.into(), "a", 6),
            "someone else"
        );
        assert!(limiter.admits(PEER, "a", 5 + EVERY));
    }

    #[test]
    fn many_senders_get_no_more_said() {
        let mut limiter = Limiter::new();
        let said = (0..1000u32)
            .filter(|&n| limiter.admits(Ipv4Addr::from(n).into(), (), 0))
            .count();
        assert_eq!(said, REMEMBERED);
        assert!(limiter.admits(PEER, (), EVERY));
    }
}
