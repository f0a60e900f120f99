//! One `[[service]]` with its `[[service.backend]]` tables.

use std::net::IpAddr;

use toml::{Spanned, de::DeValue};

use super::{
    error::Report,
    forward, health,
    model::{
        AdminState, Backend, Forward, HealthCheck, Pool, Ports, Protocol, Scheduler, Service,
        Tunnel,
    },
    refusal::Refusal,
    roster::{Roster, ServiceFacts},
    rules,
    table::{Keys, Value},
};

const SERVICE_KEYS: [&str; 11] = [
    "name",
    "vip",
    "port",
    "protocol",
    "scheduler",
    "source_prefix",
    "forward",
    "encapsulation",
    "gue_port",
    "health",
    "backend",
];
const BACKEND_KEYS: [&str; 6] = ["name", "address", "port", "weight", "backup", "state"];

/// What the node offers its services; `None` where that could not be read.
pub(super) struct Means {
    pub(super) tunnel: Option<Tunnel>,
    pub(super) pool: Option<Option<Pool>>,
}

/// A service whose own keys have been read, as far as they kept the rules, and
/// whose backends have not.
pub(super) struct Draft<'a> {
    index: usize,
    name: Option<String>,
    vip: Option<IpAddr>,
    port: Option<Ports>,
    protocol: Option<Protocol>,
    scheduler: Option<Scheduler>,
    source_prefix: Option<Option<u8>>,
    forward: Option<Forward>,
    health: Option<Option<HealthCheck>>,
    backends: Option<&'a [Spanned<DeValue<'a>>]>,
}

impl<'a> Draft<'a> {
    /// Reads a service's own keys and enters it in the roster, which numbers the
    /// services in this order. `None` when it isn't a table.
    pub(super) fn read(
        report: &mut Report<'_>,
        roster: &mut Roster,
        means: &Means,
        table: &'a Spanned<DeValue<'a>>,
    ) -> Option<Self> {
        let place = table.span();
        let keys = report.keep(&place, Value::item("service", table).table())?;
        let keys = Keys::new(report, keys, place, "[[service]]", &SERVICE_KEYS);

        let name = keys.need(report, "name", "\"web\"", |value| {
            rules::name(value.text()?)
        });
        let vip = keys.need(report, "vip", "\"203.0.113.10\"", |value| {
            let vip = rules::vip(rules::address(value.text()?)?)?;
            roster.vip(vip)?;
            Ok(vip)
        });
        let port = keys.need(report, "port", "80", ports);
        let protocol = keys.need(report, "protocol", "\"tcp\"", |value| {
            rules::choice("protocol", value.text()?, &Protocol::ALL)
        });
        let scheduler = keys.or(report, "scheduler", Scheduler::default(), |value| {
            rules::choice("scheduler", value.text()?, &Scheduler::ALL)
        });
        let source_prefix = keys.maybe(report, "source_prefix", |value| {
            let bits = value.integer()?;
            let known = scheduler.zip(vip);
            known.map_or(Ok(None), |(scheduler, vip)| {
                rules::source_prefix(scheduler, vip, bits).map(Some)
            })
        });
        let forward = forward::read(report, &keys);
        if let (Some(forward), Some(vip), Some(pool)) = (forward, vip, &means.pool) {
            let fits = rules::pool_fits(forward, vip, pool.as_ref());
            report.keep(&keys.span("forward"), fits);
        }
        let health = health::read(report, &keys, protocol.zip(port));
        let backends = keys.or(report, "backend", &[][..], |value| {
            value.tables("[[service.backend]]")
        });

        let frontend = vip.zip(port).zip(protocol);
        let frontend = frontend.map(|((vip, port), protocol)| (vip, port, protocol));
        if let Some(name) = &name {
            report.keep(&keys.span("name"), roster.service_name(name));
        }
        if let Some(frontend) = frontend {
            report.keep(&keys.span("port"), roster.frontend(frontend));
        }
        let line = report.line(keys.place().start);
        let index = roster.record_service(name.as_deref(), frontend, Some(line));
        Some(Self {
            index,
            name,
            vip,
            port,
            protocol,
            scheduler,
            source_prefix: source_prefix.map(Option::flatten),
            forward,
            health,
            backends,
        })
    }

    /// Reads the backends; `None` after errors were noted.
    pub(super) fn finish(
        self,
        report: &mut Report<'_>,
        roster: &mut Roster,
        means: &Means,
    ) -> Option<Service> {
        let tables = self.backends?;
        let mut backends = Vec::with_capacity(tables.len());
        for table in tables {
            // After one backend too many, thousands more would say nothing new.
            if let Err(refusal) = roster.backend_room() {
                report.add_once(table.span(), refusal);
                return None;
            }
            backends.push(self.backend(report, roster, means, table));
        }
        Some(Service {
            name: self.name?,
            vip: self.vip?,
            port: self.port?,
            protocol: self.protocol?,
            scheduler: self.scheduler?,
            source_prefix: self.source_prefix?,
            forward: self.forward?,
            health: self.health?,
            backends: backends.into_iter().collect::<Option<_>>()?,
        })
    }

    fn backend(
        &self,
        report: &mut Report<'_>,
        roster: &mut Roster,
        means: &Means,
        table: &Spanned<DeValue<'_>>,
    ) -> Option<Backend> {
        let place = table.span();
        let line = report.line(place.start);
        let keys = report.keep(&place, Value::item("backend", table).table())?;
        let keys = Keys::new(report, keys, place, "[[service.backend]]", &BACKEND_KEYS);

        let name = keys.need(report, "name", "\"web1\"", |value| {
            let name = rules::name(value.text()?)?;
            roster.backend_name(self.index, &name)?;
            Ok(name)
        });
        let address = keys.need(report, "address", "\"10.0.0.11\"", |value| {
            let address = rules::backend_address(rules::address(value.text()?)?)?;
            roster.backend_address(address)?;
            self.fits(means, address)?;
            Ok(address)
        });
        let port = self.backend_port(report, &keys);
        let weight = keys.or(report, "weight", 1, |value| {
            let weight = rules::weight(value.integer()?)?;
            if let Some(scheduler) = self.scheduler {
                rules::weight_fits(scheduler, weight)?;
            }
            Ok(weight)
        });
        let backup = keys.or(report, "backup", false, Value::boolean);
        let admin = keys.or(report, "state", AdminState::Enabled, |value| {
            rules::choice("state", value.text()?, &AdminState::ALL)
        });

        let facts = self.facts();
        let endpoint = address.zip(port);
        if let Some(endpoint) = endpoint {
            let free = roster.backend_endpoint(facts, endpoint);
            report.keep(&keys.span("address"), free);
        }
        roster.record_backend(facts, name.as_deref(), endpoint, Some(line));
        Some(Backend {
            name: name?,
            address: address?,
            port: port?,
            weight: weight?,
            backup: backup?,
            admin: admin?,
        })
    }

    fn backend_port(&self, report: &mut Report<'_>, keys: &Keys<'_>) -> Option<u16> {
        let own = keys.maybe(report, "port", |value| {
            let own = rules::port(value.integer()?)?;
            if let (Some(forward), Some(port)) = (self.forward, self.port) {
                rules::backend_port(forward, port, Some(own))?;
            }
            Ok(own)
        })?;
        own.or(self.port.map(|port| port.exact().unwrap_or(0)))
    }

    /// Whether the service's packets can be led to an address, as far as that can
    /// be told.
    fn fits(&self, means: &Means, address: IpAddr) -> Result<(), Refusal> {
        match (self.forward, self.vip, &means.tunnel) {
            (Some(forward), Some(vip), Some(tunnel)) => {
                rules::backend_fits(forward, vip, tunnel, address)
            }
            _ => Ok(()),
        }
    }

    /// What the rules about backends go by. What could not be read is taken for
    /// what refuses least, as its own error has been noted.
    fn facts(&self) -> ServiceFacts<'_> {
        ServiceFacts {
            index: self.index,
            name: self.name.as_deref().unwrap_or("?"),
            protocol: self.protocol.unwrap_or(Protocol::Tcp),
            forward: self.forward.unwrap_or(Forward::Dsr),
        }
    }
}

/// A port, a range as text, or 0 for any port.
fn ports(value: Value<'_>) -> Result<Ports, Refusal> {
    match value.range() {
        Some(text) => rules::port_range(text).map_err(|no| {
            let help = format!("{}, one port without quotes, or 0 for any", no.help);
            Refusal::new(no.message, help)
        }),
        None => rules::ports(value.integer()?),
    }
}
