//! A service with clients, whose packets go by a model of the data plane's rules.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use lb_common::{
    abi::{BackendState, Forward, Keeping, Kind, Pool},
    arithmetic::Plain,
    flow::{self, Entry, Reluctance, State, Tick, Timeouts, tcp},
    hash,
    wheel::{Index, Slot},
};

use super::{hop, server, tunnel, twin::Twin, vip};
use crate::{
    config::model::Protocol,
    datapath::{Flows, memory::Shared},
    plan::{
        Lives, Model, Plan, Seen, ServiceKey, Target, TargetBackend, TargetService, Watch, Way,
        plan, settle,
    },
};

/// How long an established connection may be silent, in seconds, which are ticks.
const LIFE: u64 = 40;
const TIMEOUTS: Timeouts = Timeouts::new([4, LIFE as u8, 4, 8]);
const LIVES: Lives = Lives {
    tcp: Duration::from_secs(LIFE),
    udp: Duration::from_secs(8),
};
const BUCKET_BITS: u32 = 6;

const KEY: fn() -> ServiceKey = || ServiceKey {
    vip: vip(0),
    port: 80,
    protocol: Protocol::Tcp,
};

/// A client's connection.
struct Connection {
    backend: u16,
    last: u64,
    /// It may be broken: its backend went, it was silent for too long, or it never began.
    is_lost: bool,
}

/// A backend as the operator and its health have it: state and weight.
pub type Wanted = (BackendState, u16);

pub struct World {
    index: Index,
    start: Instant,
    seconds: u64,
    twin: Twin,
    model: Model,
    wanted: BTreeMap<u8, Wanted>,
    flows: Flows,
    connections: RefCell<BTreeMap<u8, Connection>>,
    swept: u64,
    /// What a sweep has seen that hasn't been made use of yet.
    scan: Option<Scan>,
}

struct Scan {
    seen: Vec<(Watch, Seen)>,
    flows: Vec<u32>,
    retired: Vec<u16>,
}

impl World {
    pub fn new(index: Index) -> Self {
        let mut world = World {
            index,
            start: Instant::now(),
            seconds: 0,
            twin: Twin::new(),
            model: Model::default(),
            wanted: (1..=3).map(|n| (n, (BackendState::Active, 1))).collect(),
            flows: Flows::new(
                Shared::zeroed(1 << BUCKET_BITS),
                Shared::zeroed(1),
                Pool::default(),
                TIMEOUTS,
            ),
            connections: RefCell::default(),
            swept: 0,
            scan: None,
        };
        world.reconcile(0);
        world
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    fn tick(&self) -> Tick {
        self.seconds as Tick
    }

    /// Time passes; the flow table is swept before ages wrap.
    pub fn pass(&mut self, seconds: u64) {
        if self.seconds + seconds > self.swept + 60 {
            self.sweep();
            self.settle(0);
        }
        self.seconds += seconds;
        for connection in self.connections.get_mut().values_mut() {
            connection.is_lost |= self.seconds - connection.last > LIFE;
        }
    }

    /// Whoever of `chatty` has a connection sends on it.
    pub fn send(&self, chatty: u32) {
        self.send_by(&self.twin, chatty);
    }

    fn send_by(&self, twin: &Twin, chatty: u32) {
        for (&client, connection) in self.connections.borrow_mut().iter_mut() {
            if chatty >> client & 1 == 0 {
                continue;
            }
            let got = self.packet(twin, client, tcp::ACK);
            if !connection.is_lost {
                let (backend, idle) = (connection.backend, self.seconds - connection.last);
                assert_eq!(
                    got,
                    Some(backend),
                    "client {client}, silent for {idle}: {:?}",
                    self.slot(twin, client)
                );
            }
            connection.last = self.seconds;
        }
    }

    /// A client begins a connection, and goes on with it unless it is only knocking.
    pub fn open(&self, client: u8, goes_on: bool) {
        let got = self.packet(&self.twin, client, tcp::SYN);
        let mut connections = self.connections.borrow_mut();
        connections.remove(&client);
        let is_any = self.wanted.values().any(|w| w.0 == BackendState::Active);
        assert_eq!(got.is_some(), is_any, "{:?}", self.slot(&self.twin, client));
        let Some(backend) = got else { return };
        let state = state(&self.twin, backend);
        assert_eq!(state, BackendState::Active, "a new one to {backend}");
        let connection = Connection {
            backend,
            last: self.seconds,
            is_lost: !goes_on,
        };
        connections.insert(client, connection);
        drop(connections);
        if goes_on {
            self.send(1 << client);
        }
    }

    pub fn close(&self, client: u8) {
        let fin = tcp::FIN | tcp::ACK;
        let open = self.connections.borrow_mut().remove(&client);
        if let Some(connection) = open {
            let got = self.packet(&self.twin, client, fin);
            assert!(connection.is_lost || got == Some(connection.backend));
        }
    }

    /// A backend comes, goes or is changed; `chatty` clients send meanwhile.
    pub fn set(&mut self, backend: u8, wanted: Option<Wanted>, chatty: u32) {
        match wanted {
            Some(wanted) => self.wanted.insert(backend, wanted),
            None => self.wanted.remove(&backend),
        };
        self.reconcile(chatty);
    }

    fn reconcile(&mut self, chatty: u32) {
        let plan = plan(&self.model, &self.target(), self.now()).expect("room");
        for connection in self.connections.get_mut().values_mut() {
            let record = plan.model.records[&connection.backend];
            let state = BackendState::from_byte(record.state);
            connection.is_lost |= matches!(state, BackendState::Down | BackendState::Free);
        }
        self.carry_out(plan, chatty);
    }

    fn carry_out(&mut self, plan: Plan, chatty: u32) {
        let mut twin = std::mem::replace(&mut self.twin, Twin::new());
        for write in &plan.writes {
            twin.write(write, &|twin| {
                twin.check();
                self.send_by(twin, chatty);
            });
        }
        (self.twin, self.model) = (twin, plan.model);
    }

    /// Looks at the flow table; what it shows is made use of later.
    pub fn sweep(&mut self) {
        let watches = self.model.watches(self.now());
        let retired = self.model.retired().collect();
        let swept = self.flows.sweep(self.tick(), &watches);
        self.swept = self.seconds;
        self.scan = Some(Scan {
            seen: watches.into_iter().zip(swept.seen).collect(),
            flows: swept.flows,
            retired,
        });
    }

    /// What the last sweep has shown.
    pub fn settle(&mut self, chatty: u32) {
        let Some(scan) = self.scan.take() else { return };
        if let Some(plan) = settle(&self.model, &scan.seen, LIVES, self.now()) {
            self.carry_out(plan, chatty);
        }
        let is_named =
            |number| !scan.retired.contains(&number) || scan.flows[usize::from(number)] > 0;
        for number in self.model.release(is_named) {
            self.twin.backends.remove(&number);
            // Whoever has the number next is another one.
            let connections = self.connections.get_mut();
            connections.retain(|_, connection| connection.backend != number);
        }
        self.twin.check();
    }

    /// A daemon begins anew, with what the maps tell it.
    pub fn restart(&mut self) {
        let now = self.now();
        for placed in self.model.services.values_mut() {
            let slots = placed.places.slots().to_vec();
            placed.places = crate::plan::Places::found(slots, now).into();
        }
    }

    /// Nobody sends any more: in the end every place is stable, and nothing is remembered.
    pub fn quieten(&mut self) {
        self.set(1, Some((BackendState::Active, 1)), 0);
        for _ in 0..4 {
            self.pass(LIFE + 1);
            self.sweep();
            self.settle(0);
        }
        let places = &self.model.services[&KEY()].places;
        assert!(places.is_stable());
        let mut words = self.flows.words().iter();
        assert!(words.all(|word| word.load(Ordering::Relaxed) == 0));
        assert!(!self.model.remembers_flows());
    }

    fn target(&self) -> Target {
        let backend = |(&n, &(state, weight)): (&u8, &Wanted)| {
            let backend = TargetBackend {
                forward: Forward::Dsr,
                weight,
                backup: false,
                state,
                way: Way::Known(hop(n), tunnel(n)),
            };
            (server(n, false, 80), backend)
        };
        let backends: Vec<(SocketAddr, TargetBackend)> = self.wanted.iter().map(backend).collect();
        let service = TargetService {
            index: self.index,
            prefix: 32,
            range: None,
            keeping: Keeping::Changes,
            backends,
        };
        Target {
            services: BTreeMap::from([(KEY(), service)]),
            ..Target::default()
        }
    }

    fn slot(&self, twin: &Twin, client: u8) -> Option<Slot> {
        let service = twin.of_kind(Kind::Service).next()?;
        let wheel = twin.wheel(service);
        // Two clients have one address.
        let hash = match self.index {
            Index::Source => hash_of(1_000 + u64::from(client / 2)),
            _ => hash_of(client.into()),
        };
        let place = hash::reduce(hash, wheel.len() as u32);
        wheel.get(place as usize).copied()
    }

    /// Where a packet goes, as the data plane decides it.
    fn packet(&self, twin: &Twin, client: u8, flags: u8) -> Option<u16> {
        let slot = self.slot(twin, client)?;
        let some = |number: u16| (number != 0).then_some(number);
        if slot.is_stable() {
            return some(slot.backend());
        }
        let (now, opens) = (self.tick(), tcp::opens(flags));
        let (bucket, fingerprint) = flow::place(hash_of(client.into()), 64 - BUCKET_BITS);
        let word = |at: usize| &self.flows.words()[bucket as usize * flow::BUCKET_SLOTS + at];
        let load = |at: usize| Entry::from_bits(word(at).load(Ordering::Relaxed));
        let store = |at: usize, entry: Entry| word(at).store(entry.bits(), Ordering::Relaxed);
        if let Some((at, entry)) = flow::find(load, fingerprint) {
            let after = flow::after_client(entry.state(), true, flags);
            let ended = entry.state() == State::Closing || entry.is_expired(now, TIMEOUTS);
            let keeps = match state(twin, entry.backend()) {
                BackendState::Active => !opens || !ended,
                BackendState::Draining => !opens,
                BackendState::Down | BackendState::Free => false,
            };
            if keeps {
                store(at, entry.touched(now, after));
                return Some(entry.backend());
            }
            let number = some(slot.backend())?;
            let after = if opens { State::New } else { after };
            store(at, entry.moved(number, now, after));
            return Some(number);
        }
        if slot.is_tracked() {
            return Some(slot.backend());
        }
        let before = state(twin, slot.before());
        let serves = matches!(before, BackendState::Active | BackendState::Draining);
        let number = some(match opens || !serves {
            true => slot.backend(),
            false => slot.before(),
        })?;
        let reluctance = Reluctance::new(TIMEOUTS);
        let reluctance = |entry| reluctance.of(entry, now).into();
        let home = || (hash_of(client.into()) >> flow::home_shift(64 - BUCKET_BITS)) as usize;
        let room = flow::victim::<Plain>(load, reluctance, home);
        match room.filter(|_| !tcp::closes(flags)) {
            Some((at, _)) => store(at, Entry::new(fingerprint, number, now, State::New)),
            None if serves => return Some(slot.before()),
            None => {}
        }
        Some(number)
    }
}

fn state(twin: &Twin, number: u16) -> BackendState {
    let record = twin.backends.get(&number);
    record.map_or(BackendState::Free, |r| BackendState::from_byte(r.state))
}

/// The last step of SplitMix64: any number will do.
fn hash_of(n: u64) -> u64 {
    let x = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}
