//! The way from what is to what should be: services, their wheels, and the VIPs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use lb_common::{
    abi::{BackendState, Endpoint, Keeping, NO_GROUP, Wheel},
    wheel::Index,
};

use super::{
    Numbers, Placed, Places, PlanError, Planner, ServiceKey, Target, TargetService, Write, address,
    ranges::{self, Counted},
    ration, wheel,
};
use crate::config::model::Protocol;

impl Planner {
    /// Services, VIPs and pool addresses that are no longer wanted.
    pub(super) fn forget_services(&mut self, target: &Target) {
        let services = target.services.keys().map(|key| key.vip);
        let others = target.pool.iter().chain(target.groups.keys()).copied();
        let vips: BTreeSet<IpAddr> = services.chain(others).collect();
        let gone = self.model.vips.extract_if(.., |vip, _| !vips.contains(vip));
        for (_, endpoint) in gone {
            self.after.push(remove(&endpoint));
        }
        let gone = self
            .model
            .services
            .extract_if(.., |key, _| !target.services.contains_key(key));
        for (key, placed) in gone {
            let endpoint = key.endpoint(&placed, &self.model.flow_keys);
            self.after.push(remove(&endpoint));
            self.model.chunks.free(placed.wheel, self.now);
        }
    }

    /// Finds the services that aren't as they were when they were last planned.
    pub(super) fn find_changed(&mut self, target: &Target) {
        let placed = &self.model.services;
        let halvings = ration::halvings(target, placed, self.model.chunks.total());
        let is_same = |key: &ServiceKey, service: &TargetService| {
            let placed = placed.get(key);
            let wanted = placed.and_then(|placed| placed.wanted.as_deref());
            let keeps_length = halvings == self.model.halvings || service.index.is_steady();
            keeps_length && wanted == Some(service)
        };
        let services = target.services.iter();
        let changed = services.filter(|(key, service)| !is_same(key, service));
        self.changed = changed.map(|(key, _)| *key).collect();
        self.model.halvings = halvings;
    }

    /// Wheels, and the services that turn them, of the services that have changed.
    pub(super) fn services(&mut self, target: &Target, numbers: &Numbers) -> Result<(), PlanError> {
        for (&key, numbers) in numbers {
            let service = &target.services[&key];
            self.weights(service, numbers);
            self.service(key, service, numbers)?;
            if let Some(placed) = self.model.services.get_mut(&key) {
                placed.wanted = Some(Arc::new(service.clone()));
            }
        }
        Ok(())
    }

    /// The weights that backends' loads are measured by: there before a wheel names them,
    /// and 0 for those whose load nobody looks at.
    fn weights(&mut self, service: &TargetService, numbers: &[u16]) {
        let is_measured = service.index == Index::Load;
        for (&number, (_, backend)) in numbers.iter().zip(&service.backends) {
            let weights = &mut self.model.weights;
            if is_measured && weights.insert(number, backend.weight) != Some(backend.weight) {
                self.before.push(Write::Weight(number, backend.weight));
            } else if !is_measured && weights.remove(&number).is_some() {
                self.after.push(Write::Weight(number, 0));
            }
        }
    }

    fn service(
        &mut self,
        key: ServiceKey,
        service: &TargetService,
        numbers: &[u16],
    ) -> Result<(), PlanError> {
        let old = self.model.services.get(&key).cloned();
        let placed = old.as_ref().filter(|placed| placed.in_table);
        let same = placed.filter(|placed| {
            (placed.index, placed.keeping, placed.prefix)
                == (service.index, service.keeping, service.prefix)
        });
        let least = placed.map_or(0, |placed| ration::least(service, placed));
        let owners = wheel::owners(service, numbers, least, self.model.halvings, |number| {
            self.model.records[&number].state == BackendState::Active as u8
        });
        let places = if service.keeping == Keeping::Changes {
            match same {
                Some(placed) => {
                    let serves = |number| self.model.serves(number);
                    placed.places.given(&owners, serves, self.now)
                }
                None => Some(Places::tracked(&owners, self.now)),
            }
        } else {
            let places = Places::stable(&owners, self.now);
            let is_same = same.is_some_and(|placed| placed.places.slots() == places.slots());
            (!is_same).then_some(places)
        };
        let Some(places) = places else { return Ok(()) };
        let number = old.as_ref().map_or(0, |placed| placed.number);
        match placed {
            None => {
                let length = places.slots().len() as u32;
                self.before.push(Write::ResetCursor(number, length));
            }
            Some(placed) if is_another(placed, service) => self.empty(key, placed, service),
            Some(_) => {}
        }
        let placed = Placed {
            number,
            index: service.index,
            keeping: service.keeping,
            prefix: service.prefix,
            wheel: old.map_or(Wheel::default(), |old| old.wheel),
            places: Arc::new(places),
            wanted: None,
            in_table: true,
        };
        self.turn(key, placed)
    }

    /// Gives a service its places: a wheel beside the one that it has, and then the record
    /// that leads there.
    pub(super) fn turn(&mut self, key: ServiceKey, mut placed: Placed) -> Result<(), PlanError> {
        let slots = placed.places.slots();
        let length = slots.len() as u32;
        let wheel = self.model.chunks.allocate(length, self.now);
        let wheel = wheel.map_err(|_| PlanError::Wheels(key))?;
        if length > 0 {
            self.before.push(Write::Wheel(wheel.chunk, slots.to_vec()));
        }
        self.model.chunks.free(placed.wheel, self.now);
        placed.wheel = wheel;
        let endpoint = key.endpoint(&placed, &self.model.flow_keys);
        self.before.push(Write::Endpoint(endpoint));
        self.model.services.insert(key, placed);
        Ok(())
    }

    /// Empties a service's wheel, and then has it find flows otherwise: the two lie in
    /// words of their own, and backends of one mode are not for the other.
    fn empty(&mut self, key: ServiceKey, placed: &Placed, service: &TargetService) {
        let mut empty = placed.clone();
        empty.wheel = Wheel::default();
        let before = (placed.keeping, placed.index, placed.prefix);
        for step in [before, (service.keeping, service.index, service.prefix)] {
            (empty.keeping, empty.index, empty.prefix) = step;
            let endpoint = key.endpoint(&empty, &self.model.flow_keys);
            self.before.push(Write::Endpoint(endpoint));
        }
    }

    /// VIPs with their port ranges, the addresses of the pool, and what else moves with a
    /// group.
    pub(super) fn vips(&mut self, target: &Target) -> Result<(), PlanError> {
        let mut vips: BTreeMap<IpAddr, (Option<u8>, Vec<Counted>)> = BTreeMap::new();
        for &address in target.groups.keys() {
            vips.entry(address).or_default();
        }
        for (place, &address) in target.pool.iter().enumerate() {
            vips.entry(address).or_default().0 = Some(place as u8);
        }
        for (key, service) in &target.services {
            let (_, ranges) = vips.entry(key.vip).or_default();
            let Some(range) = service.range else { continue };
            let protocol = usize::from(key.protocol == Protocol::Udp);
            match ranges.iter_mut().find(|(known, _)| *known == range) {
                Some((_, counts)) => counts[protocol] = true,
                None => ranges.push((range, [protocol == 0, protocol == 1])),
            }
        }
        for (address, (pool, wanted)) in vips {
            let group = target.groups.get(&address).copied().unwrap_or(NO_GROUP);
            self.vip(address, group, pool, &wanted)?;
        }
        Ok(())
    }

    fn vip(
        &mut self,
        address: IpAddr,
        group: u32,
        pool: Option<u8>,
        wanted: &[Counted],
    ) -> Result<(), PlanError> {
        let (family, words) = address::words(address);
        let fresh = Endpoint::vip(family, words, group, pool);
        let mut known = self.model.vips.get(&address).copied();
        if let Some(vip) = known.as_mut().filter(|vip| vip.group() != group) {
            *vip = vip.in_group(group);
            self.model.vips.insert(address, *vip);
            self.before.push(Write::Endpoint(*vip));
        }
        let steps = ranges::steps(known.unwrap_or(fresh), wanted);
        let steps = steps.map_err(|_| PlanError::Ranges(address))?;
        let writes = match known {
            // A record that nobody finds yet comes whole.
            None => vec![steps.last().copied().unwrap_or(fresh)],
            Some(_) => steps,
        };
        if let Some(last) = writes.last() {
            self.model.vips.insert(address, *last);
        }
        self.before.extend(writes.into_iter().map(Write::Endpoint));
        Ok(())
    }
}

/// Whether flows are found otherwise than before, so that places mean other flows.
fn is_another(placed: &Placed, service: &TargetService) -> bool {
    let is_other = (placed.index, placed.prefix) != (service.index, service.prefix);
    placed.keeping != service.keeping || (service.keeping == Keeping::Changes && is_other)
}

fn remove(endpoint: &Endpoint) -> Write {
    Write::RemoveEndpoint(endpoint.address, endpoint.selector)
}
