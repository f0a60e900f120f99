//! Who watches new connections, and what the program is told to tell.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use lb_common::abi::{Address, Family, Opened, Watch, window};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{broadcast, mpsc};
use tracing::error;

use super::{Manager, aims, failed};
use crate::{
    api::{
        server::{ControlError, ErrorKind},
        types::ApiError,
        watch::{Ask, Opening, Server, Telling},
    },
    config::{
        model::Protocol,
        refusal::{alternatives, quoted},
    },
    daemon::openings::{Leave, News, read, telling},
    datapath::{DatapathError, Ring, Switch},
};

/// For how long the program tells of new connections without being told so again: eight
/// times as long as the manager lets pass.
const LEASE: Duration = Duration::from_secs(1);
/// Connections that wait for whoever watches; more are missed.
const WAITING: usize = 4_096;

/// Who watches.
pub(super) struct Watchers {
    switch: Switch,
    /// What was read from the ring.
    pub(super) opened: mpsc::Receiver<Vec<Opened>>,
    /// Those that have gone.
    pub(super) leavers: mpsc::UnboundedReceiver<u64>,
    left: mpsc::UnboundedSender<u64>,
    news: broadcast::Sender<News>,
    asks: BTreeMap<u64, Ask>,
    next: u64,
    /// How many the program had not told of when it was last looked.
    untold: u64,
    /// Backends by number; `None` when it isn't known whether it still holds.
    roster: Option<HashMap<u16, Known>>,
}

/// A backend, and its port if it isn't the packet's.
struct Known {
    service: String,
    backend: String,
    address: IpAddr,
    port: Option<u16>,
}

impl Watchers {
    /// Nobody yet.
    ///
    /// # Errors
    ///
    /// When the ring can't be read.
    pub(super) fn new(switch: Switch, ring: Ring) -> std::io::Result<Self> {
        let (left, leavers) = mpsc::unbounded_channel();
        Ok(Watchers {
            switch,
            opened: read(ring)?,
            leavers,
            left,
            news: broadcast::channel(WAITING).0,
            asks: BTreeMap::new(),
            next: 0,
            untold: 0,
            roster: None,
        })
    }

    /// Numbers may stand for other backends from now on.
    pub(super) fn forget_names(&mut self) {
        self.roster = None;
    }

    /// What the program has not told of since this was last asked.
    fn newly_untold(&mut self) -> Result<u64, DatapathError> {
        let untold = self.switch.untold()?;
        Ok(untold.saturating_sub(std::mem::replace(&mut self.untold, untold)))
    }
}

impl Manager {
    /// Begins to tell somebody of new connections.
    pub(super) fn watch(&mut self, ask: Ask) -> Result<Telling, ControlError> {
        for name in &ask.services {
            let names = self.desired.config().services.iter();
            let names = names.map(|service| service.name.as_str());
            if !names.clone().any(|service| service == name) {
                return Err(ControlError {
                    kind: ErrorKind::NotFound,
                    error: ApiError {
                        error: format!("there is no service called {}", quoted(name)),
                        hint: alternatives(name, names),
                    },
                });
            }
        }
        let watcher = self.watchers.next;
        self.watchers.next += 1;
        let leave = Leave {
            watcher,
            left: self.watchers.left.clone(),
        };
        let told = telling(ask.clone(), self.watchers.news.subscribe(), leave);
        if self.watchers.asks.is_empty() {
            // What was not told to others is not missed.
            self.watchers.newly_untold().map_err(failed)?;
        }
        self.watchers.asks.insert(watcher, ask);
        self.switch_watch();
        Ok(told)
    }

    /// Ends a watch; the last one's end ends the telling.
    pub(super) fn end_watch(&mut self, watcher: u64) {
        self.watchers.asks.remove(&watcher);
        self.switch_watch();
    }

    /// Lets the program go on telling as long as somebody watches.
    pub(super) fn renew_watch(&mut self) {
        if self.watchers.asks.is_empty() {
            return;
        }
        self.switch_watch();
        match self.watchers.newly_untold() {
            Ok(0) => {}
            // Without anybody there is nobody to miss them.
            Ok(untold) => drop(self.watchers.news.send(News::Untold(untold))),
            Err(error) => error!("{error}"),
        }
    }

    /// Sets the switch to what is asked for.
    fn switch_watch(&self) {
        let asks = &self.watchers.asks;
        let mut watch = Watch::OFF;
        if let Some(most) = asks.values().map(|ask| ask.rate).max() {
            watch.until = monotonic_ns() + LEASE.as_nanos() as u64;
            watch.most = most.into();
        }
        if asks.values().any(|ask| ask.services.is_empty()) {
            watch.services = Watch::ALL;
        } else {
            let names = || asks.values().flat_map(|ask| &ask.services);
            let services = self.desired.config().services.iter();
            for service in services.filter(|service| names().any(|name| *name == service.name)) {
                if let Some(placed) = self.model.services.get(&aims::key(service)) {
                    watch.add(placed.number);
                }
            }
        }
        self.watchers.switch.set(&watch);
    }

    /// Tells all that watch of new connections.
    pub(super) fn tell(&mut self, opened: &[Opened]) {
        if self.watchers.asks.is_empty() {
            return;
        }
        if self.watchers.roster.is_none() {
            self.watchers.roster = Some(self.names());
        }
        let Some(roster) = &self.watchers.roster else {
            return;
        };
        // The kernel's clock says how long ago it was, the other one what time that is.
        let (now, ns) = (SystemTime::now(), monotonic_ns());
        for opened in opened {
            let ago = Duration::from_nanos(ns.saturating_sub(opened.at));
            let at = now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
            let opening = opening(opened, at, roster.get(&opened.backend));
            let news = News::Opened(window(opened.at), Arc::new(opening));
            drop(self.watchers.news.send(news));
        }
    }

    fn names(&self) -> HashMap<u16, Known> {
        let mut names = HashMap::new();
        for service in &self.desired.config().services {
            for backend in &service.backends {
                let id = aims::number_id(service, backend);
                if let Some(&number) = self.model.backends.get(&id) {
                    let known = Known {
                        service: service.name.clone(),
                        backend: backend.name.clone(),
                        address: backend.address,
                        port: Some(backend.port).filter(|&port| port != 0),
                    };
                    names.insert(number, known);
                }
            }
        }
        names
    }
}

fn opening(opened: &Opened, at: SystemTime, to: Option<&Known>) -> Opening {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let vip_port = u16::from_be(opened.vip_port);
    let socket = |address, port| SocketAddr::new(ip(address, opened.family), port);
    Opening {
        at_ms: since.as_millis() as u64,
        protocol: match opened.protocol {
            6 => Protocol::Tcp,
            _ => Protocol::Udp,
        },
        client: socket(opened.client, u16::from_be(opened.client_port)),
        vip: socket(opened.vip, vip_port),
        to: to.map(|known| Server {
            service: known.service.clone(),
            backend: known.backend.clone(),
            server: SocketAddr::new(known.address, known.port.unwrap_or(vip_port)),
        }),
    }
}

/// An address as the maps hold it.
fn ip(address: Address, family: u8) -> IpAddr {
    let mut octets = [0; 16];
    for (bytes, word) in octets.chunks_exact_mut(4).zip(address) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    if family == Family::V6 as u8 {
        return Ipv6Addr::from(octets).into();
    }
    let [a, b, c, d, ..] = octets;
    Ipv4Addr::new(a, b, c, d).into()
}

/// Nanoseconds of the clock that the program goes by.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use lb_common::abi::{ipv4, ipv6};

    use super::*;

    #[test]
    fn a_record_becomes_what_people_read() {
        let four = Opened {
            at: 0,
            client: ipv4([198, 51, 100, 7]),
            vip: ipv4([203, 0, 113, 10]),
            client_port: 40_312u16.to_be(),
            vip_port: 7_020u16.to_be(),
            backend: 3,
            service: 5,
            protocol: 17,
            family: 0,
            reserved: [0; 6],
        };
        let known = |port| Known {
            service: "web".into(),
            backend: "web1".into(),
            address: "10.0.0.11".parse().unwrap(),
            port,
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234);
        let told = opening(&four, at, Some(&known(None)));
        assert_eq!((told.at_ms, told.protocol), (1_234, Protocol::Udp));
        assert_eq!(told.client.to_string(), "198.51.100.7:40312");
        assert_eq!(told.vip.to_string(), "203.0.113.10:7020");
        let server = |told: Opening| told.to.unwrap().server.to_string();
        assert_eq!(server(told), "10.0.0.11:7020", "packets keep their port");
        let told = opening(&four, at, Some(&known(Some(8_080))));
        assert_eq!(server(told), "10.0.0.11:8080");

        let six: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let six = Opened {
            client: ipv6(six.octets()),
            vip: ipv6(six.octets()),
            protocol: 6,
            family: 1,
            ..four
        };
        let told = opening(&six, at, None);
        assert_eq!(told.client.to_string(), "[2001:db8::7]:40312");
        assert_eq!((told.protocol, told.to), (Protocol::Tcp, None));
    }
}
