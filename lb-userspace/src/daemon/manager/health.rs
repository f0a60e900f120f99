//! Which backends are checked, and what the checks say.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddrV4},
    time::SystemTime,
};

use lb_common::abi::BackendState;
use tracing::{info, warn};

use super::{Manager, aims};
use crate::{
    config::model::{Backend, Service},
    daemon::views::Known,
    health::{Health, HealthEvent, Target, TargetId},
};

impl Manager {
    /// Has exactly the desired backends checked. Those that are in the maps and up are
    /// taken for healthy until a check says otherwise, so that a new daemon changes
    /// nothing by its coming.
    pub(super) async fn watch_health(&mut self) {
        let mut targets = Vec::new();
        let mut health = HashMap::new();
        for service in &self.desired.config().services {
            let Some(check) = &service.health else {
                continue;
            };
            for backend in &service.backends {
                let id = aims::id(service, backend);
                let known = self.health.remove(&id).unwrap_or_else(|| Known {
                    health: self.found(service, backend),
                    reason: None,
                    since: SystemTime::now(),
                });
                targets.push(Target {
                    id: id.clone(),
                    address: (backend.address, backend.port).into(),
                    check: check.clone(),
                    host: service.vip.to_string(),
                    initial: known.health,
                });
                health.insert(id, known);
            }
        }
        self.health = health;
        self.checker.set_targets(targets).await;
        self.want();
    }

    fn found(&self, service: &Service, backend: &Backend) -> Health {
        let number = aims::key(service).and_then(|key| {
            let IpAddr::V4(address) = backend.address else {
                return None;
            };
            let server = SocketAddrV4::new(address, backend.port);
            self.model.backends.get(&(key, server))
        });
        let record = number.and_then(|number| self.model.records.get(number));
        match record.map(|record| BackendState::from_byte(record.state)) {
            Some(BackendState::Active | BackendState::Draining) => Health::Healthy,
            Some(BackendState::Down | BackendState::Free) | None => Health::Checking,
        }
    }

    pub(super) fn want(&self) {
        let ports = self.ports.list();
        self.watcher
            .want(aims::wanted_hops(self.desired.config(), &self.net, &ports));
    }

    pub(super) fn take_health(&mut self, event: HealthEvent) {
        let Some(known) = self.health.get_mut(&event.id) else {
            return;
        };
        let TargetId { service, backend } = &event.id;
        match event.health {
            Health::Failed => warn!(service, backend, reason = event.reason, "failed"),
            Health::Healthy | Health::Checking => info!(service, backend, "{}", event.health),
        }
        known.health = event.health;
        known.reason = (event.health == Health::Failed).then_some(event.reason);
        known.since = SystemTime::now();
    }
}
