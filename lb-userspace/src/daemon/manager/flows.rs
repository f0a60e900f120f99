//! Answers about flows.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use lb_common::{
    abi::{Keeping, VerdictCounts},
    flow::State,
};

use super::{Manager, aims, failed};
use crate::{
    api::{
        flows::{
            BackendFlows, Connection, FlowAnswer, FlowCensus, FlowCounts, FlowState, FlowView,
            HashView, Remembers, ServiceFlows, Stage, TableMemory,
        },
        server::{ControlError, ErrorKind},
        types::ApiError,
    },
    config::model::{Ports, Service},
    daemon::control::Reply,
    datapath::{
        DatapathError,
        census::{Ages, Census},
        footprint::{self, MapSize},
        lookup::Found,
    },
};

/// Whose flows a backend number's are.
struct Roster {
    services: Vec<Entry>,
    /// Numbers of removed services' backends.
    removed: Vec<u16>,
}

struct Entry {
    name: String,
    remembers: Remembers,
    backends: Vec<(String, Option<u16>)>,
    /// Numbers of removed backends.
    removed: Vec<u16>,
}

impl Manager {
    /// Counts flows beside whatever else the daemon does.
    pub(super) fn count_flows(&mut self, reply: Reply<FlowCensus>) {
        let now = match self.clock.tick() {
            Ok(now) => now,
            Err(error) => return drop(reply.send(Err(failed(error)))),
        };
        let (flows, roster) = (Arc::clone(&self.flows), self.roster());
        let ages = Ages::new(&self.tables.identity.load(0));
        tokio::task::spawn_blocking(move || {
            let census = flows.census(now, &ages);
            let told = told(&census, &ages, flows.slots(), roster);
            // Whoever asked may have gone away.
            drop(reply.send(Ok(told)));
        });
    }

    fn roster(&self) -> Roster {
        let mut places = HashMap::new();
        let services = self.desired.config().services.iter().enumerate();
        let entry = |(place, service): (usize, &Service)| {
            let placed = self.model.services.get(&aims::key(service));
            if let Some(placed) = placed {
                places.insert(placed.number, place);
            }
            let backends = service.backends.iter().map(|backend| {
                let id = aims::number_id(service, backend);
                let number = self.model.backends.get(&id).copied();
                (backend.name.clone(), number)
            });
            Entry {
                name: service.name.clone(),
                remembers: placed.map_or(Remembers::Nothing, |placed| remembers(placed.keeping)),
                backends: backends.collect(),
                removed: Vec::new(),
            }
        };
        let mut roster = Roster {
            services: services.map(entry).collect(),
            removed: Vec::new(),
        };
        for number in self.model.retired() {
            let record = self.model.records.get(&number);
            let place = record.and_then(|record| places.get(&u32::from(record.service)));
            match place {
                Some(&place) => roster.services[place].removed.push(number),
                None => roster.removed.push(number),
            }
        }
        roster
    }

    /// What is known of one connection.
    pub(super) fn find_flow(&mut self, asked: &Connection) -> Result<FlowAnswer, ControlError> {
        let service = self.service_of(asked)?;
        let name = service.name.clone();
        let numbers = service.backends.iter().filter_map(|backend| {
            let id = aims::number_id(service, backend);
            Some((*self.model.backends.get(&id)?, backend.name.clone()))
        });
        let numbers: HashMap<u16, String> = numbers.collect();
        let named = |number: u16| numbers.get(&number).cloned();
        let key = aims::key(service);
        let Some(sought) = self.tables.seek(key, asked.client, asked.vip.port()) else {
            return Ok(FlowAnswer {
                service: name,
                remembers: Remembers::Nothing,
                flow: None,
                hash: None,
            });
        };
        let now = self.clock.tick().map_err(failed)?;
        let ages = Ages::new(&self.tables.identity.load(0));
        let view = |found: Found| -> Result<FlowView, ControlError> {
            Ok(FlowView {
                backend: named(found.entry.backend()),
                state: state(found.entry.state()),
                within_ms: ages.below(found.entry.idle(now)).as_millis() as u64,
                expired: self.flows.is_expired(found.entry, now),
                source: self.source(&found)?,
            })
        };
        let hash = self.tables.place(&sought).map(|slot| HashView {
            backend: named(slot.backend()),
            before: match slot.is_stable() || slot.is_tracked() {
                true => None,
                false => named(slot.before()),
            },
            stage: match (slot.is_stable(), slot.is_tracked()) {
                (true, _) => Stage::Stable,
                (_, true) => Stage::Tracked,
                _ => Stage::Moving,
            },
        });
        Ok(FlowAnswer {
            service: name,
            remembers: remembers(sought.keeping()),
            flow: self.flows.find(&sought).map(view).transpose()?,
            hash,
        })
    }

    /// The address and port that a flow has towards its backend, if they are its own.
    fn source(&self, found: &Found) -> Result<Option<SocketAddr>, ControlError> {
        let Some((place, port)) = found.source else {
            return Ok(None);
        };
        let pool = self.tables.pool();
        let address = pool.get(place as usize).copied();
        Ok(address.map(|address| (address, port).into()))
    }

    /// The service that takes a connection: that of the very port, else of a range, else
    /// of all ports.
    fn service_of(&self, asked: &Connection) -> Result<&Service, ControlError> {
        let port = Ports::Exact(asked.vip.port());
        let fits = |service: &&Service| {
            let is_at = service.vip == asked.vip.ip() && service.protocol == asked.protocol;
            is_at && service.port.overlap(port) && asked.client.is_ipv4() == asked.vip.is_ipv4()
        };
        let kind = |service: &&Service| match service.port {
            Ports::Exact(_) => 0,
            Ports::Range { .. } => 1,
            Ports::Any => 2,
        };
        let services = self.desired.config().services.iter();
        services
            .filter(fits)
            .min_by_key(kind)
            .ok_or_else(|| ControlError {
                kind: ErrorKind::NotFound,
                error: ApiError {
                    error: format!(
                        "no service takes {} connections from {} to {}",
                        asked.protocol, asked.client, asked.vip
                    ),
                    hint: "`flowgate service list` shows the frontends; the client's address \
                           comes first, then the VIP's"
                        .into(),
                },
            })
    }

    /// What the tables cost.
    pub(super) fn memory(&self) -> Result<Vec<TableMemory>, DatapathError> {
        let sizes = footprint::sizes(&self.args.pin_dir.join("maps"))?;
        Ok(memory(&sizes))
    }
}

fn told(census: &Census, ages: &Ages, slots: u64, roster: Roster) -> FlowCensus {
    let classes = ages.bounds().len() + 1;
    let of = |numbers: &[u16]| {
        let mut counts = FlowCounts::default();
        for &number in numbers {
            for (state, ages) in State::ALL.into_iter().zip(census.of(number)) {
                let ages: Vec<u64> = ages[..classes].iter().map(|&n| u64::from(n)).collect();
                let flows: u64 = ages.iter().sum();
                if flows > 0 {
                    let states = [(self::state(state), ages)].into();
                    counts.add(&FlowCounts { flows, states });
                }
            }
        }
        counts
    };
    let service = |entry: Entry| {
        let removed = of(&entry.removed);
        let mut counts = removed.clone();
        let backends = entry.backends.into_iter().map(|(name, number)| {
            let own = of(number.as_slice());
            counts.add(&own);
            BackendFlows { name, counts: own }
        });
        let backends = backends.collect();
        ServiceFlows {
            name: entry.name,
            remembers: entry.remembers,
            counts,
            backends,
            removed,
        }
    };
    let services: Vec<_> = roster.services.into_iter().map(service).collect();
    let removed = of(&roster.removed);
    FlowCensus {
        tick_ms: ages.tick().as_millis() as u64,
        ages: ages.bounds().to_vec(),
        slots,
        flows: services.iter().map(|one| one.counts.flows).sum::<u64>() + removed.flows,
        services,
        removed,
    }
}

fn remembers(keeping: Keeping) -> Remembers {
    match keeping {
        Keeping::Flows => Remembers::Flows,
        Keeping::Ports => Remembers::Ports,
        Keeping::Changes => Remembers::Changes,
    }
}

fn state(state: State) -> FlowState {
    match state {
        State::New => FlowState::New,
        State::Established => FlowState::Established,
        State::Closing => FlowState::Closing,
        State::Assured => FlowState::Assured,
    }
}

/// Maps by what they are for. Those that are named nowhere are the last one's.
const TABLES: [(&str, &[&str]); 9] = [
    ("flow table", &["FLOWS"]),
    ("full-nat ports", &["PORTS"]),
    ("wheels", &["WHEELS"]),
    ("endpoints", &["ENDPOINTS", "PILOTS", "KNOWN"]),
    ("backends", &["BACKENDS", "TUNNELS", "LOADS"]),
    (
        "counters",
        &[
            "VERDICTS",
            "TO_BACKENDS",
            "TO_CLIENTS",
            "CONNECTIONS",
            "TOO_BIG",
        ],
    ),
    ("fragments", &["FRAGMENTS"]),
    ("new connections", &["OPENED", "WATCH", "WATCH_COUNTS"]),
    ("neighbours and the rest", &[]),
];

fn memory(sizes: &[MapSize]) -> Vec<TableMemory> {
    let table_of = |name| {
        let found = TABLES.iter().position(|(_, maps)| maps.contains(&name));
        found.unwrap_or(TABLES.len() - 1)
    };
    let tables = TABLES.iter().enumerate().filter_map(|(place, (table, _))| {
        let its = sizes.iter().filter(|size| table_of(size.name) == place);
        let its: Vec<_> = its.collect();
        let first = its.first()?;
        Some(TableMemory {
            table: (*table).to_owned(),
            bytes: its.iter().map(|size| size.bytes).sum(),
            why: why(table, first),
        })
    });
    tables.collect()
}

/// What the size of a table comes from; `map` is its first.
fn why(table: &str, map: &MapSize) -> String {
    let elements = map.elements;
    let values = u64::from(elements) * u64::from(map.value);
    match table {
        "flow table" => format!(
            "{} slots of 8 bytes: at least two for each of max_flows",
            values / 8
        ),
        "full-nat ports" => format!(
            "room for {} ports, a power of two: those of each address of [full_nat]",
            values / 32
        ),
        "wheels" => format!("{} places of 4 bytes, for all services", values / 4),
        "endpoints" => format!(
            "{} slots of 64 bytes, for services, VIPs and nat servers",
            values / 64
        ),
        "backends" => "a record for each of 65,535 numbers".into(),
        "counters" => format!(
            "40 bytes for each of 65,535 backends' numbers on each of {} CPUs",
            values / size_of::<VerdictCounts>() as u64
        ),
        "fragments" => format!("{elements} fragmented packets at one time"),
        "new connections" => {
            "a ring for those that `flowgate flows --watch` is still to show".into()
        }
        _ => "neighbours of the way back, routes, cursors, interfaces".into(),
    }
}
