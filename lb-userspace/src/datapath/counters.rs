//! What the data plane counts, each CPU in a block of its own.

use lb_common::{
    abi::{Traffic, VerdictCounts},
    limits,
    verdict::Verdict,
};

use super::{DatapathError, Object, memory::Shared};

/// Backends that each CPU's block has counters for.
const BACKENDS: u32 = limits::MAX_BACKENDS + 1;

/// What went to and came from one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackendCounters {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, whole frames without the frame check sequence.
    pub bytes_in: u64,
    /// Packets to clients (`nat` only: with `dsr` they take another way).
    pub packets_out: u64,
    /// Bytes to clients (`nat` only), whole frames as they came from the server.
    pub bytes_out: u64,
    /// Connections scheduled to it.
    pub connections: u64,
}

/// The data plane's counters.
pub struct Counters {
    verdicts: Shared<VerdictCounts>,
    to_backends: Shared<Traffic>,
    to_clients: Shared<Traffic>,
    connections: Shared<u64>,
}

impl Counters {
    /// Opens the counters of a loaded object.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    pub fn open(object: &Object) -> Result<Self, DatapathError> {
        Ok(Counters {
            verdicts: object.shared("VERDICTS")?,
            to_backends: object.shared("TO_BACKENDS")?,
            to_clients: object.shared("TO_CLIENTS")?,
            connections: object.shared("CONNECTIONS")?,
        })
    }

    /// Packets by verdict, all CPUs together.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(Verdict, u64)> {
        let blocks: Vec<_> = (0..self.verdicts.length())
            .map(|cpu| self.verdicts.load(cpu).0)
            .collect();
        let sum = |verdict: &Verdict| blocks.iter().map(|counts| counts[*verdict as usize]).sum();
        Verdict::ALL
            .iter()
            .map(|verdict| (*verdict, sum(verdict)))
            .collect()
    }

    /// A backend's counters, all CPUs together.
    #[must_use]
    pub fn backend(&self, number: u16) -> BackendCounters {
        let mut sum = BackendCounters::default();
        for place in places(&self.connections, number) {
            let (there, back) = (self.to_backends.load(place), self.to_clients.load(place));
            sum.packets_in += there.packets;
            sum.bytes_in += there.bytes;
            sum.packets_out += back.packets;
            sum.bytes_out += back.bytes;
            sum.connections += self.connections.load(place);
        }
        sum
    }

    /// Sets a backend's counters to zero, for a new backend of that number: no packet is
    /// counted by that number before it has a record.
    pub fn reset_backend(&self, number: u16) {
        for place in places(&self.connections, number) {
            self.to_backends.store(place, &Traffic::default());
            self.to_clients.store(place, &Traffic::default());
            self.connections.store(place, &0);
        }
    }
}

/// Where a backend's records lie: one in each CPU's block.
fn places(records: &Shared<u64>, number: u16) -> impl Iterator<Item = u32> + use<> {
    let blocks = records.length() / BACKENDS;
    (0..blocks).map(move |cpu| cpu * BACKENDS + u32::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::verdict::VERDICT_SLOTS;

    #[test]
    fn a_sum_is_of_all_cpus_and_of_that_backend() {
        let counters = Counters {
            verdicts: Shared::zeroed(2),
            to_backends: Shared::zeroed(2 * BACKENDS),
            to_clients: Shared::zeroed(2 * BACKENDS),
            connections: Shared::zeroed(2 * BACKENDS),
        };
        let traffic = |packets, bytes| Traffic { packets, bytes };
        let mut counts = VerdictCounts([0; VERDICT_SLOTS as usize]);
        for cpu in 0..2 {
            counts.0[Verdict::ForwardNew as usize] += 3;
            counters.verdicts.store(cpu, &counts);
            for number in [6, 7, 65_535] {
                let place = cpu * BACKENDS + number;
                counters.to_backends.store(place, &traffic(1, 60 << cpu));
                counters.to_clients.store(place, &traffic(10, 100 << cpu));
                counters.connections.store(place, &4);
            }
        }
        let verdicts = counters.verdicts();
        assert!(verdicts.contains(&(Verdict::ForwardNew, 9)));
        let both = BackendCounters {
            packets_in: 2,
            bytes_in: 180,
            packets_out: 20,
            bytes_out: 300,
            connections: 8,
        };
        counters.reset_backend(7);
        assert_eq!(counters.backend(7), BackendCounters::default());
        assert_eq!(counters.backend(6), both);
        assert_eq!(counters.backend(65_535), both);
        assert_eq!(counters.backend(8), BackendCounters::default());
    }
}
