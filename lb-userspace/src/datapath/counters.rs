//! What the data plane counts.

use aya::maps::{MapData, PerCpuArray};
use lb_common::{
    abi::BackendCounters,
    verdict::{VERDICT_SLOTS, Verdict},
};

use super::{DatapathError, Object, kernel_error, tables::Plain};

/// The data plane's counters.
pub struct Counters {
    verdicts: PerCpuArray<MapData, [u64; VERDICT_SLOTS as usize]>,
    backends: PerCpuArray<MapData, Plain<BackendCounters>>,
}

impl Counters {
    /// Opens the counters of a loaded object.
    ///
    /// # Panics
    ///
    /// When the object lacks one of them, or they were taken before.
    #[must_use]
    pub fn open(object: &mut Object) -> Self {
        let mut take = |name| object.ebpf.take_map(name).expect("the object has this map");
        let kind = "the map has its kind by its declaration";
        Counters {
            verdicts: PerCpuArray::try_from(take("VERDICTS")).expect(kind),
            backends: PerCpuArray::try_from(take("BACKEND_COUNTERS")).expect(kind),
        }
    }

    /// Packets by verdict, all CPUs together.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    pub fn verdicts(&self) -> Result<Vec<(Verdict, u64)>, DatapathError> {
        let values = self.verdicts.get(&0, 0);
        let values = values.map_err(|e| kernel_error("reading the verdict counters", &e))?;
        let sum = |verdict: &Verdict| values.iter().map(|counts| counts[*verdict as usize]).sum();
        Ok(Verdict::ALL
            .iter()
            .map(|verdict| (*verdict, sum(verdict)))
            .collect())
    }

    /// A backend's counters, all CPUs together.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    pub fn backend(&self, number: u16) -> Result<BackendCounters, DatapathError> {
        let values = self.backends.get(&u32::from(number), 0);
        let values = values.map_err(|e| kernel_error("reading a backend's counters", &e))?;
        Ok(values
            .iter()
            .fold(BackendCounters::default(), |sum, Plain(one)| {
                BackendCounters {
                    packets_in: sum.packets_in + one.packets_in,
                    bytes_in: sum.bytes_in + one.bytes_in,
                    packets_out: sum.packets_out + one.packets_out,
                    bytes_out: sum.bytes_out + one.bytes_out,
                    connections: sum.connections + one.connections,
                }
            }))
    }

    /// Sets a backend's counters to zero, for a new backend of that number.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    pub fn reset_backend(&mut self, number: u16) -> Result<(), DatapathError> {
        let failed = |e: &(dyn std::error::Error + 'static)| {
            kernel_error("resetting a backend's counters", e)
        };
        let cpus = aya::util::nr_cpus().map_err(|(_, e)| failed(&e))?;
        let zero = vec![Plain(BackendCounters::default()); cpus];
        let zero = zero.try_into().map_err(|e: std::io::Error| failed(&e))?;
        self.backends
            .set(u32::from(number), zero, 0)
            .map_err(|e| failed(&e))
    }
}
