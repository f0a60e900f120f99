//! The way from what is to what should be: services, their wheels, and the VIPs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use lb_common::{
    abi::{BackendState, Endpoint, NO_DEADLINE, Wheel},
    wheel::Slot,
};

use super::{
    Numbers, Placed, PlanError, Planner, ServiceKey, Target, TargetService, Write, address,
    ranges::{self, Counted},
    wheel,
};
use crate::config::model::Protocol;

impl Planner {
    /// Services, VIPs and pool addresses that are no longer wanted.
    pub(super) fn forget_services(&mut self, target: &Target, now: Instant) {
        let services = target.services.keys().map(|key| key.vip);
        let vips: BTreeSet<IpAddr> = services.chain(target.pool.iter().copied()).collect();
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
            self.model.chunks.free(placed.wheel, now);
        }
    }

    /// Wheels, and the services that turn them.
    pub(super) fn services(
        &mut self,
        target: &Target,
        numbers: &Numbers,
        now: Instant,
    ) -> Result<(), PlanError> {
        for (&key, service) in &target.services {
            let numbers = numbers.get(&key).map_or(&[][..], Vec::as_slice);
            self.service(key, service, numbers, now)?;
        }
        Ok(())
    }

    fn service(
        &mut self,
        key: ServiceKey,
        service: &TargetService,
        numbers: &[u16],
        now: Instant,
    ) -> Result<(), PlanError> {
        let least_length = match self.model.services.get(&key) {
            Some(placed) if placed.index.is_steady() => placed.wheel.length,
            _ => 0,
        };
        let owners = wheel::owners(service, numbers, least_length, |number| {
            self.model.records[&number].state == BackendState::Active as u8
        });
        let entries: Vec<Slot> = owners.into_iter().map(Slot::stable).collect();
        let old = self.model.services.get(&key).cloned();
        let placed = old.as_ref().filter(|placed| placed.in_table);
        if let Some(placed) = placed
            && placed.entries == entries
            && (placed.index, placed.keeping, placed.prefix)
                == (service.index, service.keeping, service.prefix)
        {
            return Ok(());
        }
        let wheel = self.model.chunks.allocate(entries.len() as u32, now);
        let wheel = wheel.map_err(|_| PlanError::Wheels(key))?;
        let number = old.as_ref().map_or(0, |placed| placed.number);
        match placed {
            None => self.before.push(Write::ResetCursor(number, wheel.length)),
            Some(placed) if placed.keeping != service.keeping => self.empty(key, placed, service),
            Some(_) => {}
        }
        if !entries.is_empty() {
            self.before.push(Write::Wheel(wheel.chunk, entries.clone()));
        }
        if let Some(old) = old {
            self.model.chunks.free(old.wheel, now);
        }
        let placed = Placed {
            number,
            index: service.index,
            keeping: service.keeping,
            prefix: service.prefix,
            wheel,
            entries,
            in_table: true,
        };
        let endpoint = key.endpoint(&placed, &self.model.flow_keys);
        self.before.push(Write::Endpoint(endpoint));
        self.model.services.insert(key, placed);
        Ok(())
    }

    /// Empties a service's wheel, and then has it keep its flows elsewhere: the two lie in
    /// words of their own, and backends of one mode are not for the other.
    fn empty(&mut self, key: ServiceKey, placed: &Placed, service: &TargetService) {
        let mut empty = placed.clone();
        empty.wheel = Wheel::default();
        for keeping in [placed.keeping, service.keeping] {
            empty.keeping = keeping;
            let endpoint = key.endpoint(&empty, &self.model.flow_keys);
            self.before.push(Write::Endpoint(endpoint));
        }
    }

    /// VIPs with their port ranges, and the addresses of the pool.
    pub(super) fn vips(&mut self, target: &Target) -> Result<(), PlanError> {
        let mut vips: BTreeMap<IpAddr, (Option<u8>, Vec<Counted>)> = BTreeMap::new();
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
            self.vip(address, pool, &wanted)?;
        }
        Ok(())
    }

    fn vip(
        &mut self,
        address: IpAddr,
        pool: Option<u8>,
        wanted: &[Counted],
    ) -> Result<(), PlanError> {
        let (family, words) = address::words(address);
        let fresh = Endpoint::vip(family, words, NO_DEADLINE, pool);
        let known = self.model.vips.get(&address).copied();
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

fn remove(endpoint: &Endpoint) -> Write {
    Write::RemoveEndpoint(endpoint.address, endpoint.selector)
}
