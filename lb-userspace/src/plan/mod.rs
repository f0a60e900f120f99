//! From what is to what should be: the ordered list of map writes.
//!
//! A plan is made whole before anything is written, and it keeps every packet's way
//! intact while it is carried out: what packets are to find is written before what
//! leads them there, and taken away after.

mod address;
mod backends;
mod chunks;
mod model;
mod ranges;
mod ration;
mod services;
mod settle;
mod target;
mod transition;
mod wheel;
mod work;
mod write;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use lb_common::{abi::Backend, limits};

pub use address::{ip, words};
pub use chunks::{Chunks, GRACE, NoRoom};
pub use model::{Id, Model, Placed};
pub use settle::{Lives, Seen, Watch, settle};
pub use target::{ServiceKey, Target, TargetBackend, TargetService, Way};
pub use transition::Places;
pub use write::Write;

/// What the maps have no room for. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Every service number is taken.
    #[error("no room for another service: {} are in use", limits::MAX_SERVICES)]
    Services,
    /// Every backend number is taken or still named by flows.
    #[error(
        "no room for another backend: all {} numbers are in use or still named by flows of removed backends, which expire by and by",
        limits::MAX_BACKENDS
    )]
    Backends,
    /// No run of chunks is free for a wheel.
    #[error(
        "no room for the wheel of {0}: the wheels of all services together take too much, or lie so that no gap is long enough; fewer backends in a service, or weights nearer to each other, need less"
    )]
    Wheels(ServiceKey),
    /// A VIP has more port ranges than places for them.
    #[error("no room for the port ranges of {0}: a VIP has {max} at most", max = limits::MAX_VIP_RANGES)]
    Ranges(IpAddr),
}

/// Writes, and what the maps hold when they are done.
#[derive(Debug)]
pub struct Plan {
    /// In the order in which to make them.
    pub writes: Vec<Write>,
    /// What the maps hold then.
    pub model: Model,
}

/// Plans the way from `model` to `target`. Services that are as they were when they were
/// last planned cost next to nothing.
///
/// # Errors
///
/// [`PlanError`] when the maps have no room for it.
pub fn plan(model: &Model, target: &Target, now: Instant) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(model.clone(), now);
    planner.forget_services(target);
    planner.find_changed(target);
    planner.forget_backends(target);
    let numbers = planner.backends(target)?;
    planner.servers();
    planner.services(target, &numbers)?;
    planner.vips(target)?;
    planner.network(target);
    Ok(planner.done())
}

/// As [`plan`], where nothing is different from the last target but states, weights and ways
/// of backends, of these services alone: takes time for them alone.
///
/// # Errors
///
/// As [`plan`]; the model that was given is lost, and what the maps hold is to be read
/// again.
pub fn plan_services(
    model: Model,
    target: &Target,
    services: BTreeSet<ServiceKey>,
    now: Instant,
) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(model, now);
    planner.changed = services;
    let numbers = planner.backends(target)?;
    planner.write_records();
    planner.services(target, &numbers)?;
    Ok(planner.done())
}

struct Planner {
    before: Vec<Write>,
    after: Vec<Write>,
    model: Model,
    /// Services that aren't as they were when they were last planned.
    changed: BTreeSet<ServiceKey>,
    /// Records that were changed, as they are in the maps.
    touched: BTreeMap<u16, Option<Backend>>,
    now: Instant,
}

/// Backend numbers by service, in the target's order.
type Numbers = BTreeMap<ServiceKey, Vec<u16>>;

impl Planner {
    fn new(model: Model, now: Instant) -> Self {
        Planner {
            before: Vec::new(),
            after: Vec::new(),
            model,
            changed: BTreeSet::new(),
            touched: BTreeMap::new(),
            now,
        }
    }

    fn done(self) -> Plan {
        let mut writes = self.before;
        writes.extend(self.after);
        Plan {
            writes,
            model: self.model,
        }
    }

    fn network(&mut self, target: &Target) {
        if self.model.routes != target.routes {
            self.before.push(Write::Routes(target.routes.clone()));
            self.model.routes.clone_from(&target.routes);
        }
        if self.model.routes6 != target.routes6 {
            self.before.push(Write::Routes6(target.routes6.clone()));
            self.model.routes6.clone_from(&target.routes6);
        }
        // Nothing leads to a neighbour, and those that go make room.
        for &address in self.model.neighbours.keys() {
            if !target.neighbours.contains_key(&address) {
                self.before.push(Write::Neighbour(address, None));
            }
        }
        for (&address, &hop) in &target.neighbours {
            if self.model.neighbours.get(&address) != Some(&hop) {
                self.before.push(Write::Neighbour(address, Some(hop)));
            }
        }
        self.model.neighbours.clone_from(&target.neighbours);
    }
}
