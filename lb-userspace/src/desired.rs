//! What should be: the configuration with what operators changed since.

mod change;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

pub use self::change::{Applied, Change, ChangeError, RuntimeChanges};
use crate::config::{
    model::{AdminState, Backend, Config, Group, Service, Tunnel},
    refusal::{Refusal, alternatives, quoted},
    roster::{Roster, ServiceFacts},
    rules,
};

/// The configuration with the runtime changes applied. It keeps every rule that
/// a configuration file must keep.
#[derive(Debug, Clone)]
pub struct Desired {
    base: Arc<Config>,
    current: Arc<Config>,
    /// What `current` has taken; `None` until a change needs to know.
    roster: Option<Roster>,
}

impl Desired {
    /// What a configuration alone asks for.
    pub fn new(config: Config) -> Self {
        let base = Arc::new(config);
        Self {
            current: Arc::clone(&base),
            roster: None,
            base,
        }
    }

    /// A configuration with changes that were kept, and a warning for each
    /// change that no longer fits and was dropped.
    pub fn restore(config: Config, kept: &RuntimeChanges) -> (Self, Vec<String>) {
        let mut desired = Self::new(config);
        let mut warnings = Vec::new();
        for change in &kept.changes {
            if let Err(error) = desired.apply(change.clone()) {
                let what = change.told();
                warnings.push(format!("{what} no longer fits and was dropped: {error}"));
            }
        }
        (desired, warnings)
    }

    /// Takes another configuration and keeps the runtime changes that still fit
    /// it; returns a warning for each that doesn't. A change that the new
    /// configuration makes itself is its own from then on.
    pub fn reload(&mut self, config: Config) -> Vec<String> {
        let (desired, warnings) = Self::restore(config, &self.changes());
        *self = desired;
        warnings
    }

    /// Whether a daemon can go over to another configuration while traffic flows.
    ///
    /// # Errors
    /// When the tables of flows would have to be made anew for it.
    pub fn can_reload(&self, config: &Config) -> Result<(), Refusal> {
        let base = &self.base;
        let fixed = [
            (
                "[node] max_flows",
                base.node.max_flows == config.node.max_flows,
            ),
            ("[timeouts]", base.timeouts == config.timeouts),
            ("[full_nat]", base.full_nat == config.full_nat),
        ];
        if base.replication != config.replication {
            return Err(Refusal::new(
                "[replication] can't change while the daemon runs",
                "put it back, or restart the daemon: `flowgate vip failover` hands over before",
            ));
        }
        same_groups(&base.groups, &config.groups)?;
        match fixed.iter().find(|(_, same)| !same) {
            None => Ok(()),
            Some((what, _)) => Err(Refusal::new(
                format!("{what} can't change while the tables of flows are in use"),
                "put it back; or stop the daemon, `flowgate unload` and start again, which breaks connections",
            )),
        }
    }

    /// What should be.
    pub fn config(&self) -> &Config {
        &self.current
    }

    /// Makes one change, whole or not at all.
    ///
    /// # Errors
    /// When it names something that isn't there or would break a rule.
    pub fn apply(&mut self, change: Change) -> Result<Applied, ChangeError> {
        let index = self.service(change.names().0)?;
        match change {
            Change::AddBackend {
                name,
                address,
                port,
                weight,
                backup,
                ..
            } => {
                let service = &self.current.services[index];
                let tunnel = &self.current.tunnel;
                let backend = new_backend(service, tunnel, &name, address, port, weight)?;
                self.add(index, Backend { backup, ..backend })
            }
            Change::RemoveBackend { name, .. } => {
                let at = self.backend(index, &name)?;
                Ok(self.remove(index, at))
            }
            Change::Enable { name, .. } => self.set_admin(index, &name, AdminState::Enabled),
            Change::Drain { name, .. } => self.set_admin(index, &name, AdminState::Draining),
            Change::SetWeight { name, weight, .. } => self.set_weight(index, &name, weight),
        }
    }

    /// The changes that lead from the configuration to what is desired.
    pub fn changes(&self) -> RuntimeChanges {
        let mut removals = Vec::new();
        let mut additions = Vec::new();
        let mut settings = Vec::new();
        for (base, current) in self.base.services.iter().zip(&self.current.services) {
            let diff = Diff::of(base, current);
            removals.extend(diff.removals);
            additions.extend(diff.additions);
            settings.extend(diff.settings);
        }
        // What leaves makes room, in names, addresses and numbers, for what comes.
        let changes = [removals, additions, settings].concat();
        RuntimeChanges { changes }
    }

    fn service(&self, name: &str) -> Result<usize, ChangeError> {
        let services = &self.current.services;
        let at = services.iter().position(|service| service.name == name);
        at.ok_or_else(|| {
            let names = services.iter().map(|service| service.name.as_str());
            missing("service", name, names)
        })
    }

    fn backend(&self, service: usize, name: &str) -> Result<usize, ChangeError> {
        let service = &self.current.services[service];
        let backends = &service.backends;
        let at = backends.iter().position(|backend| backend.name == name);
        at.ok_or_else(|| {
            let what = format!("backend in service `{}`", service.name);
            let names = backends.iter().map(|backend| backend.name.as_str());
            missing(&what, name, names)
        })
    }

    fn add(&mut self, index: usize, backend: Backend) -> Result<Applied, ChangeError> {
        let service = &self.current.services[index];
        let facts = ServiceFacts::of(index, service);
        if service.backends.contains(&backend) {
            let told = "is there already, just like that";
            return Ok(unchanged(service, &backend.name, told));
        }
        let endpoint = (backend.address, backend.port);
        let roster = self.roster.get_or_insert_with(|| Roster::of(&self.current));
        roster.backend_room()?;
        roster.backend_name(index, &backend.name)?;
        roster.backend_address(backend.address)?;
        roster.backend_endpoint(facts, endpoint)?;

        roster.record_backend(facts, Some(&backend.name), Some(endpoint), None);
        let applied = changed(service, &backend.name, "was added");
        let current = Arc::make_mut(&mut self.current);
        current.services[index].backends.push(backend);
        Ok(applied)
    }

    fn remove(&mut self, index: usize, at: usize) -> Applied {
        let current = Arc::make_mut(&mut self.current);
        let backend = current.services[index].backends.remove(at);
        let service = &current.services[index];
        let endpoint = (backend.address, backend.port);
        let facts = ServiceFacts::of(index, service);
        if let Some(roster) = &mut self.roster {
            roster.release_backend(facts, &backend.name, endpoint);
        }
        changed(service, &backend.name, "was removed")
    }

    fn set_admin(
        &mut self,
        index: usize,
        name: &str,
        admin: AdminState,
    ) -> Result<Applied, ChangeError> {
        let at = self.backend(index, name)?;
        let service = &mut Arc::make_mut(&mut self.current).services[index];
        let before = std::mem::replace(&mut service.backends[at].admin, admin);
        let (now, already) = match admin {
            AdminState::Enabled => ("takes new connections", "takes new connections already"),
            AdminState::Draining => (
                "is draining: it keeps its connections and gets no new ones",
                "is draining already",
            ),
        };
        Ok(match before == admin {
            true => unchanged(service, name, already),
            false => changed(service, name, now),
        })
    }

    fn set_weight(
        &mut self,
        index: usize,
        name: &str,
        weight: u32,
    ) -> Result<Applied, ChangeError> {
        let at = self.backend(index, name)?;
        let weight = rules::weight(weight.into())?;
        let service = &mut Arc::make_mut(&mut self.current).services[index];
        rules::weight_fits(service.scheduler, weight)?;
        let before = std::mem::replace(&mut service.backends[at].weight, weight);
        Ok(match before == weight {
            true => unchanged(service, name, &format!("has the weight {weight} already")),
            false => changed(service, name, &format!("has the weight {weight} now")),
        })
    }
}

/// Whether groups can go over to others: what they are on the wire stays.
fn same_groups(base: &[Group], other: &[Group]) -> Result<(), Refusal> {
    let wire = |group: &Group| {
        (
            (group.name.clone(), group.interface.clone(), group.vrid),
            (
                group.interval.version(),
                group.checksum_as_v2,
                group.is_ipv6(),
            ),
            (group.address, group.peers.clone()),
        )
    };
    match base.iter().map(wire).eq(other.iter().map(wire)) {
        true => Ok(()),
        false => Err(Refusal::new(
            "name, interface, vrid, version, addresses and number of [[vrrp]] groups can't change while the daemon runs",
            "put them back, or restart the daemon: `flowgate vip failover` hands over before",
        )),
    }
}

/// The backend that an addition asks for, no backup, held against the rules for its values.
fn new_backend(
    service: &Service,
    tunnel: &Tunnel,
    name: &str,
    address: IpAddr,
    port: Option<u32>,
    weight: u32,
) -> Result<Backend, Refusal> {
    let own = port.map(|port| rules::port(port.into())).transpose()?;
    let weight = rules::weight(weight.into())?;
    rules::weight_fits(service.scheduler, weight)?;
    let address = rules::backend_address(address)?;
    rules::backend_fits(service.forward, service.vip, tunnel, address)?;
    Ok(Backend {
        name: rules::name(name)?,
        address,
        port: rules::backend_port(service.forward, service.port, own)?,
        weight,
        backup: false,
        admin: AdminState::Enabled,
    })
}

/// The changes that lead from one state of a service to another.
#[derive(Default)]
struct Diff {
    removals: Vec<Change>,
    additions: Vec<Change>,
    settings: Vec<Change>,
}

impl Diff {
    fn of(base: &Service, current: &Service) -> Self {
        let mut diff = Self::default();
        let by_name = |service: &Service| -> HashMap<String, Backend> {
            let named = service.backends.iter();
            named
                .map(|backend| (backend.name.clone(), backend.clone()))
                .collect()
        };
        let (before, after) = (by_name(base), by_name(current));
        // What no change can alter.
        let fixed = |backend: &Backend| (backend.address, backend.port, backend.backup);
        let same_server = |a: &Backend, b: &Backend| fixed(a) == fixed(b);
        let kept = |backend: &Backend, in_other: &HashMap<String, Backend>| {
            let other = in_other.get(&backend.name);
            other.is_some_and(|other| same_server(other, backend))
        };
        for backend in &base.backends {
            if !kept(backend, &after) {
                diff.removals.push(Change::RemoveBackend {
                    service: base.name.clone(),
                    name: backend.name.clone(),
                });
            }
        }
        for backend in &current.backends {
            let base_backend = before
                .get(&backend.name)
                .filter(|base| same_server(base, backend));
            diff.bring(current, base_backend, backend);
        }
        diff
    }

    /// Adds what makes `before`, or nothing, into `after`.
    fn bring(&mut self, service: &Service, before: Option<&Backend>, after: &Backend) {
        let (service, name) = (service.name.clone(), after.name.clone());
        let (weight, admin) = match before {
            Some(before) => (before.weight, before.admin),
            None => {
                self.additions.push(Change::AddBackend {
                    service: service.clone(),
                    name: name.clone(),
                    address: after.address,
                    // 0 is the packet's own, which needs no saying.
                    port: (after.port != 0).then(|| after.port.into()),
                    weight: after.weight.into(),
                    backup: after.backup,
                });
                (after.weight, AdminState::Enabled)
            }
        };
        if weight != after.weight {
            self.settings.push(Change::SetWeight {
                service: service.clone(),
                name: name.clone(),
                weight: after.weight.into(),
            });
        }
        if admin != after.admin {
            self.settings.push(match after.admin {
                AdminState::Enabled => Change::Enable { service, name },
                AdminState::Draining => Change::Drain { service, name },
            });
        }
    }
}

fn changed(service: &Service, name: &str, now: &str) -> Applied {
    Applied {
        changed: true,
        message: format!("backend `{name}` of service `{}` {now}", service.name),
    }
}

fn unchanged(service: &Service, name: &str, now: &str) -> Applied {
    Applied {
        changed: false,
        ..changed(service, name, now)
    }
}

fn missing<'a>(
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> ChangeError {
    let message = format!("there is no {what} called {}", quoted(name));
    ChangeError::Unknown(Refusal::new(message, alternatives(name, names)))
}
