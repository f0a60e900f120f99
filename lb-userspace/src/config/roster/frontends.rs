//! Which ports of which VIP are balanced.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::Holder;
use crate::config::{
    limits::MAX_VIP_RANGES,
    model::{Ports, Protocol},
    refusal::Refusal,
    rules::told,
};

/// Where clients connect to.
pub type Frontend = (IpAddr, Ports, Protocol);

/// The frontends that are taken, each with the service that has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Frontends {
    taken: HashMap<Frontend, Holder>,
    vips: HashMap<IpAddr, Vip>,
}

/// What is taken of one VIP.
#[derive(Debug, Clone)]
struct Vip {
    first: Holder,
    /// The frontends that aren't one port.
    ranges: Vec<(Ports, Protocol, Holder)>,
}

impl Frontends {
    /// The first service of a VIP.
    pub(super) fn of_vip(&self, address: IpAddr) -> Option<&Holder> {
        self.vips.get(&address).map(|vip| &vip.first)
    }

    pub(super) fn record(&mut self, frontend: Frontend, holder: Holder) {
        let (vip, ports, protocol) = frontend;
        let vip = self.vips.entry(vip).or_insert_with(|| Vip {
            first: holder.clone(),
            ranges: Vec::new(),
        });
        if ports.exact().is_none() {
            vip.ranges.push((ports, protocol, holder.clone()));
        }
        self.taken.entry(frontend).or_insert(holder);
    }

    pub(super) fn fits(&self, frontend: Frontend) -> Result<(), Refusal> {
        let (vip, ports, protocol) = frontend;
        if let Some(other) = self.taken.get(&frontend) {
            return Err(Refusal::new(
                format!(
                    "service {} balances {}/{protocol} of {vip} already",
                    other.shown(),
                    told(ports)
                ),
                "give one of the two another port or VIP, or put their backends into one service",
            ));
        }
        match (self.vips.get(&vip), ports) {
            (None, _) | (_, Ports::Exact(_)) => Ok(()),
            (Some(of), _) => of.has_room(frontend),
        }
    }
}

impl Vip {
    /// Whether a range, or any port, has a place beside the others.
    fn has_room(&self, (vip, ports, protocol): Frontend) -> Result<(), Refusal> {
        // Any port is what the others leave, so it overlaps none.
        let overlapping = self.ranges.iter().find(|(other, of, _)| {
            *of == protocol && ports != Ports::Any && *other != Ports::Any && ports.overlap(*other)
        });
        if let Some((other, _, holder)) = overlapping {
            return Err(Refusal::new(
                format!(
                    "{}/{protocol} of {vip} overlap the ports {other} of service {}",
                    told(ports),
                    holder.shown()
                ),
                "give each port to one of the two",
            ));
        }
        let distinct: HashSet<Ports> = self.ranges.iter().map(|(ports, ..)| *ports).collect();
        if distinct.len() >= MAX_VIP_RANGES && !distinct.contains(&ports) {
            return Err(Refusal::new(
                format!(
                    "{vip} has {MAX_VIP_RANGES} port ranges already, the most that a VIP can have"
                ),
                "join ranges into one service, or spread the services over several VIPs",
            ));
        }
        Ok(())
    }
}
