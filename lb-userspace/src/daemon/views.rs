//! What the API shows, made of what the manager knows.

use std::{collections::HashMap, time::SystemTime};

use lb_common::{abi::BackendState, flow::BUCKET_SLOTS};

use super::{
    aims::{self, Ways},
    ports::Ports,
};
use crate::{
    api::types::{
        BackendStats, BackendView, Counters as Counted, DataState, Family, HealthState, HealthView,
        InterfaceView, LinkState, LinkView, PoolView, ServiceStats, ServiceView, Stats, XdpMode,
    },
    config::model::{Backend, Config, Service},
    datapath::{Counters, PortsUsed},
    health::{Health, TargetId},
    net::NetState,
    plan::Model,
};

/// What is known of a backend's health.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) health: Health,
    pub(super) reason: Option<String>,
    pub(super) since: SystemTime,
}

/// What views are made of.
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    pub(super) health: &'a HashMap<TargetId, Known>,
    pub(super) ways: &'a Ways,
    pub(super) model: &'a Model,
    pub(super) net: &'a NetState,
    pub(super) ports: &'a Ports,
    pub(super) counters: &'a Counters,
    pub(super) ports_used: PortsUsed,
}

impl Scene<'_> {
    pub(super) fn interfaces(&self) -> Vec<InterfaceView> {
        let view = |name: &String| {
            let link = self.net.link_by_name(name);
            let mode = self.ports.mode(name);
            let state = match link {
                None => LinkState::Gone,
                Some(link) if !link.up => LinkState::Down,
                Some(link) if !link.carrier => LinkState::NoCarrier,
                Some(_) => LinkState::Up,
            };
            InterfaceView {
                name: name.clone(),
                mode,
                state,
                mtu: link.map(|link| link.mtu),
                trouble: trouble(name, state, mode)
                    .or_else(|| self.ports.advice(name).map(str::to_owned)),
            }
        };
        self.config.node.interfaces.iter().map(view).collect()
    }

    pub(super) fn services(&self) -> Vec<ServiceView> {
        self.config
            .services
            .iter()
            .map(|service| self.service(service))
            .collect()
    }

    /// The pool of `full-nat`, by the families that it has addresses of.
    pub(super) fn full_nat(&self) -> Vec<PoolView> {
        let (pool, _) = aims::pool(self.config);
        let of = |family, addresses: u16, used| PoolView {
            family,
            addresses: addresses.into(),
            ports: u64::from(addresses) * u64::from(pool.buckets) * BUCKET_SLOTS as u64,
            used,
        };
        let views = [
            of(Family::Ipv4, pool.v4, self.ports_used.v4),
            of(Family::Ipv6, pool.v6, self.ports_used.v6),
        ];
        views
            .into_iter()
            .filter(|view| view.addresses > 0)
            .collect()
    }

    pub(super) fn stats(&self) -> Stats {
        let verdicts = self.counters.verdicts();
        let stats = |service: &Service| {
            let named = |backend: &Backend| BackendStats {
                name: backend.name.clone(),
                counters: self.counted(service, backend),
            };
            let backends: Vec<_> = service.backends.iter().map(named).collect();
            let counters = sum(backends.iter().map(|backend| &backend.counters));
            ServiceStats {
                name: service.name.clone(),
                counters,
                backends,
            }
        };
        Stats {
            verdicts: verdicts
                .into_iter()
                .map(|(v, n)| (v.label().to_owned(), n))
                .collect(),
            services: self.config.services.iter().map(stats).collect(),
        }
    }

    fn service(&self, service: &Service) -> ServiceView {
        let views = service
            .backends
            .iter()
            .map(|backend| self.backend(service, backend));
        let mut backends = views.collect::<Vec<_>>();
        stand_by(&mut backends);
        ServiceView {
            name: service.name.clone(),
            vip: service.vip,
            port: service.port,
            protocol: service.protocol,
            scheduler: service.scheduler,
            source_prefix: service.source_prefix,
            forward: service.forward,
            counters: sum(backends.iter().map(|backend| &backend.counters)),
            backends,
        }
    }

    fn backend(&self, service: &Service, backend: &Backend) -> BackendView {
        let id = aims::id(service, backend);
        let record = self
            .number(service, backend)
            .and_then(|number| self.model.records.get(&number));
        let state = record.map_or(BackendState::Down, |r| BackendState::from_byte(r.state));
        BackendView {
            name: backend.name.clone(),
            address: backend.address,
            port: backend.port,
            weight: backend.weight,
            backup: backend.backup,
            admin: backend.admin.into(),
            health: self.health(&id),
            link: self.link(&id),
            state: match state {
                BackendState::Active => DataState::Active,
                BackendState::Draining => DataState::Draining,
                BackendState::Down | BackendState::Free => DataState::Down,
            },
            counters: self.counted(service, backend),
        }
    }

    fn health(&self, id: &TargetId) -> HealthView {
        let Some(known) = self.health.get(id) else {
            return HealthView {
                state: HealthState::Unchecked,
                reason: None,
                since: None,
            };
        };
        HealthView {
            state: match known.health {
                Health::Checking => HealthState::Checking,
                Health::Healthy => HealthState::Healthy,
                Health::Failed => HealthState::Failed,
            },
            reason: known.reason.clone(),
            since: Some(unix_seconds(known.since)),
        }
    }

    fn link(&self, id: &TargetId) -> LinkView {
        match self.ways.get(id) {
            Some(Ok(found)) => LinkView::Resolved {
                path_mtu: Some(found.path_mtu()),
                trouble: None,
                mac: found
                    .hop
                    .destination_mac
                    .map(|byte| format!("{byte:02x}"))
                    .join(":"),
                interface: self
                    .net
                    .link(found.hop.ifindex)
                    .map_or_else(String::new, |l| l.name.clone()),
            },
            Some(Err(no)) => LinkView::Unresolved {
                reason: no.reason.clone(),
            },
            None => LinkView::Unresolved {
                reason: "not looked for yet".into(),
            },
        }
    }

    fn counted(&self, service: &Service, backend: &Backend) -> Counted {
        let Some(number) = self.number(service, backend) else {
            return Counted::default();
        };
        let counters = self.counters.backend(number);
        Counted {
            packets: counters.packets_in,
            bytes: counters.bytes_in,
            packets_out: counters.packets_out,
            bytes_out: counters.bytes_out,
            connections: counters.connections,
        }
    }

    fn number(&self, service: &Service, backend: &Backend) -> Option<u16> {
        let id = aims::number_id(service, backend);
        self.model.backends.get(&id).copied()
    }
}

/// While another backend takes new connections, backups don't.
fn stand_by(backends: &mut [BackendView]) {
    let takes = |one: &BackendView| !one.backup && one.state == DataState::Active;
    if backends.iter().any(takes) {
        for backend in backends.iter_mut().filter(|one| one.backup) {
            if backend.state == DataState::Active {
                backend.state = DataState::Standby;
            }
        }
    }
}

/// Why an interface forwards nothing, and the way out.
fn trouble(name: &str, state: LinkState, mode: Option<XdpMode>) -> Option<String> {
    match (state, mode) {
        (LinkState::Gone, _) => Some("there is no such interface on this machine".into()),
        (LinkState::Down, _) => Some(format!(
            "it is switched off: `ip link set {name} up` switches it on"
        )),
        (LinkState::NoCarrier, _) => Some("nobody is at the other end of its cable".into()),
        (LinkState::Up, None) => Some("the XDP program is not attached; see the log".into()),
        (LinkState::Up, Some(_)) => None,
    }
}

fn sum<'a>(counters: impl Iterator<Item = &'a Counted>) -> Counted {
    counters.fold(Counted::default(), |sum, one| Counted {
        packets: sum.packets + one.packets,
        bytes: sum.bytes + one.bytes,
        packets_out: sum.packets_out + one.packets_out,
        bytes_out: sum.bytes_out + one.bytes_out,
        connections: sum.connections + one.connections,
    })
}

pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
