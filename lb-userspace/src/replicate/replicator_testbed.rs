//! Two replicators on the loopback interface, for tests.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use lb_common::{
    abi::{Bucket, Owner, PortBucket, ipv4},
    flow::{Entry, State, Tick},
};

use super::{
    Limits, Replicator, Role, Setup, Status, Tables, Told,
    simulation::{TIMEOUTS, difference, key, roster, terms},
    wire::Terms,
};
use crate::datapath::memory::Shared;

pub(super) const FLOWS: usize = 1 << 18;
/// How much higher the second node's numbers are.
pub(super) const OFFSET: u16 = 100;
/// The nodes' ticks, which stand still.
pub(super) const TICKS: [Tick; 2] = [200, 77];

/// An address of this process alone, and a port of its own for each call.
pub(super) fn address() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let process = 0x7f40_0000 | std::process::id() & 0x3f_ffff;
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    (Ipv4Addr::from(process), port).into()
}

/// Until it is so.
pub(super) fn wait(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::park_timeout(Duration::from_micros(200));
    }
    start.elapsed()
}

/// A node.
pub(super) struct Node {
    pub(super) number: usize,
    pub(super) listen: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) terms: Terms,
    pub(super) limits: Limits,
    pub(super) key: u8,
    pub(super) flows: Arc<Shared<Bucket>>,
    pub(super) ports: Arc<Shared<PortBucket>>,
    pub(super) told: Arc<Mutex<Vec<Told>>>,
    pub(super) replicator: Option<Replicator>,
}

impl Node {
    pub(super) fn new(number: usize, listen: SocketAddr, peer: SocketAddr) -> Self {
        Node {
            number,
            listen,
            peer,
            terms: terms(FLOWS as u64),
            limits: Limits::sized(FLOWS),
            key: 2,
            flows: Arc::new(Shared::zeroed((FLOWS / 8) as u32)),
            ports: Arc::new(Shared::zeroed(64)),
            told: Arc::default(),
            replicator: None,
        }
    }

    pub(super) fn roster(&self, backends: u16) -> super::Roster {
        roster(OFFSET * self.number as u16, backends)
    }

    pub(super) fn start(&mut self, role: Role) {
        self.replicator = None;
        let told = Arc::clone(&self.told);
        let tick = TICKS[self.number];
        let setup = Setup {
            key: key(self.key),
            listen: self.listen,
            peer: self.peer,
            terms: self.terms,
            timeouts: TIMEOUTS,
            limits: self.limits,
            roster: self.roster(9),
            flows: Arc::clone(&self.flows),
            ports: Arc::clone(&self.ports),
            tick: Box::new(move || tick),
        };
        let told = move |what| told.lock().expect("not poisoned").push(what);
        let replicator = Replicator::start(setup, told).expect("started");
        replicator.set_role(role);
        self.replicator = Some(replicator);
    }

    pub(super) fn replicator(&self) -> &Replicator {
        self.replicator.as_ref().expect("started")
    }

    pub(super) fn status(&self) -> Status {
        self.replicator().status()
    }

    pub(super) fn tables(&self) -> Tables<'_> {
        Tables::new(&self.flows, &self.ports)
    }

    pub(super) fn told(&self, what: Told) -> bool {
        self.told.lock().expect("not poisoned").contains(&what)
    }

    pub(super) fn word(&self, slot: usize) -> u64 {
        self.flows.words()[slot].load(Ordering::Relaxed)
    }

    /// A flow of the node's own numbers.
    pub(super) fn open(&self, slot: usize, backend: u16) {
        let backend = backend + OFFSET * self.number as u16;
        let entry = Entry::new(
            slot as u64 | 1 << 30,
            backend,
            TICKS[self.number],
            State::Established,
        );
        self.flows.words()[slot].store(entry.bits(), Ordering::Relaxed);
    }

    /// A flow with a port of the pool's.
    pub(super) fn open_port(&self, slot: usize, backend: u16) {
        let (bucket, place) = ((slot / 8) as u32, slot % 8);
        let mut record = self.ports.load(bucket);
        let number = backend + OFFSET * self.number as u16;
        let tick = TICKS[self.number];
        record.entries[place] = Entry::new(slot as u64, number, tick, State::Established).bits();
        record.owners[place] = Owner {
            client: ipv4([192, 0, 2, slot as u8]),
            client_port: 4_000 + slot as u16,
            vip_port: 80,
            service: u32::from(backend % 4 + OFFSET * self.number as u16),
        };
        self.ports.store(bucket, &record);
    }
}

/// Whether the second node's tables are the first one's, or the other way round.
pub(super) fn is_same(from: &Node, to: &Node) -> bool {
    let offset = OFFSET
        .wrapping_mul(to.number as u16)
        .wrapping_sub(OFFSET * from.number as u16);
    let ticks = (TICKS[from.number], TICKS[to.number]);
    difference(&from.tables(), &to.tables(), ticks, offset).is_none()
}

pub(super) fn pair() -> [Node; 2] {
    let (first, second) = (address(), address());
    [Node::new(0, first, second), Node::new(1, second, first)]
}

pub(super) fn start([active, standby]: &mut [Node; 2]) {
    active.start(Role::Active);
    standby.start(Role::Standby);
}

pub(super) fn wait_for_sync([active, standby]: &[Node; 2]) -> Duration {
    let both = || standby.status().in_sync && active.status().in_sync;
    let took = wait("in sync", both);
    wait("the same", || is_same(active, standby));
    took
}
