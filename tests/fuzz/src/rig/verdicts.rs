//! The verdict counters, read after each packet.

use anyhow::{Context, Result, bail};
use flowgate::datapath::{Object, memory::Shared};
use lb_common::{
    abi::VerdictCounts,
    verdict::{VERDICT_SLOTS, Verdict},
};

const SLOTS: usize = VERDICT_SLOTS as usize;

/// The counters and what they were.
pub struct Verdicts {
    blocks: Shared<VerdictCounts>,
    before: [u64; SLOTS],
}

impl Verdicts {
    /// Opens the counters of a loaded object.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn open(object: &Object) -> Result<Self> {
        let blocks = object.shared("VERDICTS")?;
        let before = sum(&blocks);
        Ok(Verdicts { blocks, before })
    }

    /// The one verdict that has risen, by one, since the last look.
    ///
    /// # Errors
    ///
    /// When it is another number.
    pub fn risen(&mut self) -> Result<Verdict> {
        let now = sum(&self.blocks);
        let before = std::mem::replace(&mut self.before, now);
        let mut risen = (0..SLOTS).filter(|&slot| now[slot] != before[slot]);
        let (Some(slot), None) = (risen.next(), risen.next()) else {
            bail!("one packet, and not one verdict was counted");
        };
        if now[slot] - before[slot] != 1 {
            bail!("one packet, counted {} times", now[slot] - before[slot]);
        }
        let named = Verdict::ALL
            .iter()
            .find(|verdict| **verdict as usize == slot);
        named.copied().context("a verdict without a name")
    }
}

/// All CPUs' counts together.
fn sum(blocks: &Shared<VerdictCounts>) -> [u64; SLOTS] {
    let mut sum = [0; SLOTS];
    for cpu in 0..blocks.length() {
        for (total, count) in sum.iter_mut().zip(blocks.load(cpu).0) {
            *total += count;
        }
    }
    sum
}
