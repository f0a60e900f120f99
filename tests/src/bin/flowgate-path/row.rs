//! The rows of the table.

use std::fmt;

use crate::{
    addresses::{Family, Wiring},
    forwarder::{Forwarder, MANY, Scheduler},
    frame::Delivery,
};

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub forwarder: String,
    pub family: Family,
    pub scheduler: Option<Scheduler>,
    pub wiring: Wiring,
    /// Whether it is Flowgate ...
    pub is_ours: bool,
    /// ... in a mode that changes no more than MAC addresses.
    pub is_like_bare: bool,
    pub is_bare: bool,
    /// Flows of each CPU.
    pub flows: u32,
    /// CPUs that send at once.
    pub cores: usize,
}

impl Row {
    /// The rows of a forwarder, on a machine of so many CPUs. Where instructions are
    /// counted, the number of flows makes no difference.
    pub fn of(forwarder: &dyn Forwarder, cpus: usize, counted: bool) -> Vec<Self> {
        let row = |flows, cores| Self {
            forwarder: forwarder.name(),
            family: forwarder.family(),
            scheduler: forwarder.scheduler(),
            wiring: forwarder.wiring(),
            is_ours: forwarder.is_ours(),
            is_like_bare: forwarder.is_ours() && forwarder.delivery() == Delivery::Vip,
            is_bare: forwarder.is_bare(),
            flows,
            cores,
        };
        if counted {
            return vec![row(1, 1)];
        }
        let mut rows: Vec<Self> = forwarder
            .flows()
            .iter()
            .map(|&flows| row(flows, 1))
            .collect();
        if cpus > 1 {
            rows.push(row(MANY, cpus));
        }
        rows
    }

    /// The bare forwarder's row that this one is compared with.
    pub fn is_beside(&self, bare: &Self) -> bool {
        bare.is_bare
            && (bare.family, bare.wiring, bare.flows, bare.cores)
                == (self.family, self.wiring, self.flows, self.cores)
    }

    /// The same on one CPU.
    pub fn alone(&self) -> Self {
        Self {
            cores: 1,
            ..self.clone()
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.forwarder, self.family.name())?;
        if let Some(scheduler) = self.scheduler {
            write!(f, ", {}", scheduler.name())?;
        }
        match self.flows {
            1 => write!(f, ", 1 flow")?,
            flows if flows % 1_000_000 == 0 => write!(f, ", {} M flows", flows / 1_000_000)?,
            flows => write!(f, ", {} k flows", flows / 1_000)?,
        }
        if self.cores > 1 {
            write!(f, ", {} cores", self.cores)?;
        }
        Ok(())
    }
}
