//! Which backends are checked, and what the checks say.

use std::{collections::HashMap, net::IpAddr, time::SystemTime};

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
                    host: host(service.vip),
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
        let number = self.model.backends.get(&aims::number_id(service, backend));
        let record = number.and_then(|number| self.model.records.get(number));
        match record.map(|record| BackendState::from_byte(record.state)) {
            Some(BackendState::Active | BackendState::Draining) => Health::Healthy,
            Some(BackendState::Down | BackendState::Free) | None => Health::Checking,
        }
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

/// An address as it stands in a URL and in the `Host` header (RFC 3986 section 3.2.2).
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_stands_in_brackets() {
        let host = |text: &str| host(text.parse().unwrap());
        assert_eq!(host("203.0.113.10"), "203.0.113.10");
        assert_eq!(host("2001:db8::1"), "[2001:db8::1]");
    }
}
