//! What the product has counted, read from `flowgate stats`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::flowgate::Flowgate;

/// What was counted for one backend of one service since the maps were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Connections scheduled to it.
    pub connections: u64,
    /// Packets from clients.
    pub packets: u64,
    /// Bytes from clients.
    pub bytes: u64,
    /// Packets to clients (`nat` only).
    pub packets_out: u64,
    /// Bytes of those.
    pub bytes_out: u64,
}

impl std::ops::Sub for Traffic {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            packets_out: self.packets_out - before.packets_out,
            bytes_out: self.bytes_out - before.bytes_out,
        }
    }
}

impl std::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            connections: sum.connections + one.connections,
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
            packets_out: sum.packets_out + one.packets_out,
            bytes_out: sum.bytes_out + one.bytes_out,
        })
    }
}

/// What was counted for each backend of `service`.
pub fn of_backends(flowgate: &Flowgate, service: &str) -> Result<BTreeMap<String, Traffic>> {
    let stats = flowgate.json(&["stats"])?;
    let services = stats["services"]
        .as_array()
        .context("no services in stats")?;
    let service = services
        .iter()
        .find(|entry| entry["name"] == service)
        .with_context(|| format!("no service {service} in stats"))?;
    let backends = service["backends"]
        .as_array()
        .context("no backends in stats")?;
    backends
        .iter()
        .map(|backend| {
            let name = backend["name"].as_str().context("a backend without name")?;
            Ok((name.to_owned(), traffic(backend)?))
        })
        .collect()
}

/// How many packets met each fate, by the verdict's label.
pub fn of_verdicts(flowgate: &Flowgate) -> Result<BTreeMap<String, u64>> {
    let stats = flowgate.json(&["stats"])?;
    let verdicts = stats["verdicts"]
        .as_object()
        .context("no verdicts in stats")?;
    verdicts
        .iter()
        .map(|(label, count)| Ok((label.clone(), count.as_u64().context("not a count")?)))
        .collect()
}

/// Checks that `work` makes the counter of each of these verdicts rise by so many at least.
pub fn rise(
    flowgate: &Flowgate,
    labels: &[&str],
    by: u64,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = of_verdicts(flowgate)?;
    work()?;
    let after = of_verdicts(flowgate)?;
    for &label in labels {
        let risen = after[label] - before[label];
        ensure!(risen >= by, "{label} rose by {risen} only");
    }
    Ok(())
}

fn traffic(backend: &Value) -> Result<Traffic> {
    let number = |key: &str| {
        let value = backend["counters"][key].as_u64();
        value.with_context(|| format!("no {key} in {backend}"))
    };
    Ok(Traffic {
        connections: number("connections")?,
        packets: number("packets")?,
        bytes: number("bytes")?,
        packets_out: number("packets_out")?,
        bytes_out: number("bytes_out")?,
    })
}
