//! When the machine is quiet: the bare swap tells, which always does the same.

/// How much longer than its least, as a share of it, the swap takes on a quiet machine at most.
pub const TOLERANCE: f64 = 0.1;

/// What the swap took at least, in nanoseconds, of all that was seen.
#[derive(Debug, Clone, Copy)]
pub struct Quiet(f64);

impl Quiet {
    /// Nothing was seen yet.
    pub const fn new() -> Self {
        Self(f64::INFINITY)
    }

    /// Another time of the swap.
    pub fn see(&mut self, swap: f64) {
        self.0 = self.0.min(swap);
    }

    /// How much longer than its least the swap took then, as a share of it.
    pub fn noise(self, swap: f64) -> f64 {
        swap / self.0 - 1.0
    }

    /// Whether the machine was quiet then.
    pub fn was(self, swap: f64) -> bool {
        self.noise(swap) <= TOLERANCE
    }
}

/// One round of a row, in nanoseconds per packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// The swap, before and after all else: the longer time.
    pub swap: f64,
    /// The prologue.
    pub prologue: f64,
    /// The product, less the prologue.
    pub ours: f64,
    /// The reference, likewise, where it is measured.
    pub reference: Option<f64>,
}

/// The `count` rounds in which the machine was quietest. Only the swap chooses, so those aren't
/// preferred in which one of the others was fast.
pub fn quietest(mut rounds: Vec<Round>, count: usize) -> Vec<Round> {
    rounds.sort_by(|a, b| a.swap.total_cmp(&b.swap));
    rounds.truncate(count);
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(swap: f64, ours: f64) -> Round {
        Round {
            swap,
            prologue: 5.0,
            ours,
            reference: None,
        }
    }

    #[test]
    fn the_swap_alone_chooses() {
        let rounds = vec![round(12.0, 1.0), round(8.0, 30.0), round(9.0, 20.0)];
        assert_eq!(
            quietest(rounds.clone(), 2),
            [round(8.0, 30.0), round(9.0, 20.0)]
        );
        assert_eq!(quietest(rounds, 9).len(), 3);
    }

    #[test]
    fn noise_is_by_the_least_of_all() {
        let mut quiet = Quiet::new();
        quiet.see(10.0);
        assert_eq!(quiet.noise(10.0), 0.0);
        quiet.see(8.0);
        quiet.see(9.0);
        assert_eq!(quiet.noise(10.0), 0.25);
    }
}
