//! The program with its maps, to send packets through.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::{Deref, DerefMut},
    sync::{Mutex, atomic::Ordering},
};

use aya::{
    maps::{HashMap, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions},
};
use flowgate::datapath::{
    Constants, Object, Tables,
    counters::Counters,
    memory::Shared,
    object::{self, OBJECT},
};
use lb_common::{
    abi::{
        Address, Backend, BackendCounters, BackendState, Bucket, Endpoint, Family, Identity,
        Keeping, Pool, PortBucket, Route, Route6, Tunnel, Wheel, ipv4, ipv6,
    },
    flow::{self, Entry},
    hash::{FlowKeys, Seed},
    verdict::Verdict,
    wheel::Index,
};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::frame::Socket;
use crate::site::{OTHER_IFINDEX, OTHER_SLOT, OWN, POOL4, POOL6, VIP};

/// What the kernel is told (`enum xdp_action`).
pub const XDP_ABORTED: u32 = 0;
pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_TX: u32 = 3;
pub const XDP_REDIRECT: u32 = 4;

/// The shortest frame that `BPF_PROG_TEST_RUN` takes: an Ethernet header.
pub const SHORTEST: usize = 14;

/// Chunks between the wheels of two services.
const WHEEL_STRIDE: u32 = 8;

/// The ports that `full-nat` has at each address: from this one on, in eights.
pub const POOL_FIRST: u16 = 20_000;
pub const POOL_BUCKETS: u16 = 64;

/// A loaded program and its maps. The thread stays on one CPU, since round robin is
/// counted by each for itself.
pub struct Rig {
    pub object: Object,
    pub tables: Tables,
    pub flows: Shared<Bucket>,
    pub ports: Shared<PortBucket>,
    pub identity: Identity,
    fragments: HashMap<MapData, [u32; 10], [u64; 3]>,
    told: PerCpuArray<MapData, [u64; 2]>,
    counters: Counters,
    counted: Vec<(Verdict, u64)>,
    services: u32,
    endpoints: BTreeMap<Place, Endpoint>,
    numbers: BTreeSet<u16>,
    neighbours: Vec<IpAddr>,
}

/// Where a service is: VIP, port, protocol.
pub type Place = (IpAddr, u16, u8);

/// Rigs that nobody uses just now: the verifier takes seconds over a program.
static IDLE: Mutex<Vec<Rig>> = Mutex::new(Vec::new());

/// A rig for as long as a test runs, as good as new: its maps are emptied before it is
/// lent again. One whose test has failed isn't.
pub struct Lent(Option<Rig>);

impl Deref for Lent {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Rig {
        self.0.as_mut().expect("there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (false, Some(rig)) = (std::thread::panicking(), self.0.take())
            && let Ok(mut idle) = IDLE.lock()
        {
            idle.push(rig);
        }
    }
}

/// Flows that the table of a lent rig is for.
const FLOWS: u32 = 1_024;

/// A program with empty maps.
pub fn lend() -> Lent {
    let idle = IDLE.lock().expect("nobody panics with it").pop();
    let rig = match idle {
        Some(mut rig) => {
            rig.empty();
            rig
        }
        None => Rig::with(identity()),
    };
    Lent(Some(rig))
}

/// A flow table's make, with fresh keys.
pub fn identity() -> Identity {
    let timeouts = flowgate::config::model::Timeouts::default();
    Identity {
        pool: Pool {
            first_port: POOL_FIRST,
            buckets: POOL_BUCKETS,
            v4: 1,
            v6: 1,
        },
        ..object::new_identity(FLOWS, &timeouts).expect("random numbers")
    }
}

/// An address as the maps hold it.
pub fn words(address: IpAddr) -> (Family, Address) {
    match address {
        IpAddr::V4(address) => (Family::V4, ipv4(address.octets())),
        IpAddr::V6(address) => (Family::V6, ipv6(address.octets())),
    }
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub verdict: Verdict,
    pub action: u32,
    pub bytes: Vec<u8>,
}

impl Sent {
    /// The backend whose MAC address the frame now has.
    pub fn backend(&self) -> u16 {
        assert_eq!(self.bytes[..4], [2, 0, 0, 1], "{self:?}");
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }
}

impl Rig {
    /// A program of its own with empty maps and this flow table.
    pub fn with(identity: Identity) -> Self {
        stay_on(sched_getcpu());
        let constants = Constants {
            identity,
            egress: 0,
            mac: OWN,
            sample: 0,
            has_buffers: false,
        };
        let mut object = Object::load(OBJECT, &constants, None).expect("loading, which needs root");
        object.program("flowgate").expect("the verifier takes it");
        let flows = object.shared("FLOWS").expect("the flow table");
        let ports = object.shared("PORTS").expect("the pool's ports");
        let mut take = |name| object.ebpf.take_map(name).expect("the object has it");
        let fragments = HashMap::try_from(take("FRAGMENTS")).expect("a hash map");
        let told = PerCpuArray::try_from(take("TOO_BIG")).expect("an array");
        let mut tables = Tables::open(&mut object).expect("the tables");
        tables
            .put_device(OTHER_SLOT, OTHER_IFINDEX)
            .expect("a device");
        tables
            .put_pool(&[POOL4.into(), POOL6.into()])
            .expect("a pool");
        let counters = Counters::open(&mut object);
        let counted = counters.verdicts().expect("counters");
        Rig {
            object,
            tables,
            flows,
            ports,
            identity,
            fragments,
            told,
            counters,
            counted,
            services: 0,
            endpoints: BTreeMap::new(),
            numbers: BTreeSet::new(),
            neighbours: Vec::new(),
        }
    }

    /// Takes everything out of the maps.
    fn empty(&mut self) {
        stay_on(sched_getcpu());
        self.forget();
        let endpoints: Vec<Endpoint> = self.tables.endpoints.iter().collect();
        for endpoint in endpoints {
            let (address, selector) = (endpoint.address, endpoint.selector);
            self.tables.endpoints.remove(address, selector);
        }
        for number in std::mem::take(&mut self.numbers) {
            self.tables.forget_backend(number);
            self.counters.reset_backend(number).expect("counters");
        }
        for service in 0..self.services {
            self.tables.reset_cursor(service, 0).expect("cursors");
        }
        self.tables.put_routes(&[]);
        self.tables.put_routes6(&[]);
        for neighbour in std::mem::take(&mut self.neighbours) {
            let gone = self.tables.put_neighbour(neighbour, None);
            gone.expect("a neighbour less");
        }
        self.services = 0;
        self.endpoints.clear();
        self.risen();
    }

    /// Forgets every flow, every port, every fragment, and whom it has told of what.
    pub fn forget(&mut self) {
        for word in self.flows.words().iter().chain(self.ports.words()) {
            word.store(0, Ordering::Relaxed);
        }
        for key in self
            .fragments
            .keys()
            .map(|key| key.expect("keys"))
            .collect::<Vec<_>>()
        {
            self.fragments.remove(&key).expect("it is there");
        }
        let cpus = aya::util::nr_cpus().expect("a number of CPUs");
        let none = vec![[0; 2]; cpus].try_into().expect("one for each");
        self.told.set(0, none, 0).expect("its only element");
    }

    /// Lets every fragment's time run out.
    pub fn age_fragments(&mut self) {
        for entry in self.fragments.iter().collect::<Vec<_>>() {
            let (key, mut value) = entry.expect("an entry");
            value[0] = 1;
            self.fragments.insert(key, value, 0).expect("it is there");
        }
    }

    /// Puts an endpoint.
    pub fn endpoint(&mut self, endpoint: &Endpoint) {
        self.tables.put_endpoint(endpoint).expect("room");
    }

    /// A service of the VIP.
    pub fn service(&mut self, port: u16, protocol: u8, index: Index, wheel: &[u16]) {
        let place = (VIP.into(), port, protocol);
        self.service_at(place, Keeping::Flows, index, wheel);
    }

    /// A service of any VIP.
    pub fn service_at(&mut self, place: Place, keeping: Keeping, index: Index, wheel: &[u16]) {
        let number = self.services;
        self.services += 1;
        let at = Wheel {
            chunk: number * WHEEL_STRIDE,
            length: 0,
        };
        let keys = FlowKeys(self.identity.flow_keys);
        let (vip, port, protocol) = place;
        let (family, vip) = words(vip);
        let service = Endpoint::service(
            &keys,
            family,
            vip,
            port.to_be(),
            protocol,
            keeping,
            index,
            number,
            at,
        );
        self.endpoints.insert(place, service);
        self.wheel_at(place, wheel);
    }

    /// A server that is backend `number`, whose service of the VIP has `vip_port`.
    pub fn server(&mut self, server: Socket, protocol: u8, number: u16, vip_port: u16) {
        let server = (server.0.into(), server.1);
        self.server_at(server, number, (VIP.into(), vip_port, protocol));
    }

    /// A server that is backend `number` of the service at `place`.
    pub fn server_at(&mut self, server: (IpAddr, u16), number: u16, place: Place) {
        let seed = self.seed(place);
        let (family, address) = words(server.0);
        let port = server.1.to_be();
        self.endpoint(&Endpoint::server(
            family, address, port, place.2, number, seed,
        ));
    }

    /// Another wheel for a service of the VIP.
    pub fn wheel(&mut self, port: u16, protocol: u8, wheel: &[u16]) {
        self.wheel_at((VIP.into(), port, protocol), wheel);
    }

    /// Another wheel for a service, in the same chunks.
    pub fn wheel_at(&mut self, place: Place, wheel: &[u16]) {
        let service = self.endpoints[&place];
        let at = Wheel {
            length: wheel.len() as u32,
            ..service.wheel()
        };
        self.tables.put_wheel(at.chunk, wheel);
        self.endpoint(&service.with_wheel(at));
    }

    /// The record of a service of the VIP.
    pub fn record(&self, port: u16, protocol: u8) -> Endpoint {
        self.endpoints[&(VIP.into(), port, protocol)]
    }

    /// The routes to clients, and the neighbours among them.
    pub fn routes(
        &mut self,
        four: &[Route],
        six: &[Route6],
        neighbours: &[(IpAddr, lb_common::abi::Hop)],
    ) {
        self.tables.put_routes(four);
        self.tables.put_routes6(six);
        for &(address, hop) in neighbours {
            self.tables.put_neighbour(address, Some(hop)).expect("room");
            self.neighbours.push(address);
        }
    }

    /// What a backend's outer headers say.
    pub fn tunnel(&mut self, number: u16, tunnel: &Tunnel) {
        self.tables.tunnels.store(u32::from(number), tunnel);
    }

    /// Puts a backend.
    pub fn backend(&mut self, number: u16, backend: &Backend) {
        self.numbers.insert(number);
        self.tables.backends.store(u32::from(number), backend);
    }

    /// Every backend that there is.
    pub fn numbers(&self) -> Vec<u16> {
        self.numbers.iter().copied().collect()
    }

    /// Sets a backend's state.
    pub fn state(&mut self, number: u16, state: BackendState) {
        let mut backend = self.tables.backends.load(u32::from(number));
        backend.state = state as u8;
        self.backend(number, &backend);
    }

    /// One packet through the program, without a look at the counters.
    pub fn run(&mut self, packet: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; packet.len() + 128];
        let program = self.object.program("flowgate").expect("loaded");
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options).expect("a test run");
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }

    /// One packet through the program; exactly one counter rises by one.
    pub fn send(&mut self, packet: &[u8]) -> Sent {
        let (action, bytes) = self.run(packet);
        let risen = self.risen();
        match risen[..] {
            [(verdict, 1)] => Sent {
                verdict,
                action,
                bytes,
            },
            _ => panic!("one packet, counted as {risen:?}"),
        }
    }

    /// Whether the kernel takes test runs with so short a frame.
    pub fn takes(&mut self, length: usize) -> bool {
        let frame = vec![0; length];
        let options = TestRunOptions {
            data_in: Some(&frame),
            ..TestRunOptions::new()
        };
        let program = self.object.program("flowgate").expect("loaded");
        program.test_run(options).is_ok()
    }

    /// The verdicts counted since the last look, and how often.
    pub fn risen(&mut self) -> Vec<(Verdict, u64)> {
        let now = self.counters.verdicts().expect("counters");
        let before = std::mem::replace(&mut self.counted, now);
        self.counted
            .iter()
            .zip(before)
            .map(|(&(verdict, now), (_, before))| (verdict, now - before))
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    /// The flow's entry, if the table has one. `port` is the VIP's.
    pub fn entry(&self, client: Socket, port: u16, protocol: u8) -> Option<Entry> {
        let (bucket, fingerprint) = self.place(client, port, protocol);
        let words = self.flows.record(bucket);
        let load = |slot: usize| Entry::from_bits(words[slot].load(Ordering::Relaxed));
        flow::find(load, fingerprint).map(|(_, entry)| entry)
    }

    /// The seed of a service.
    fn seed(&self, (vip, port, protocol): Place) -> Seed {
        let (family, vip) = words(vip);
        FlowKeys(self.identity.flow_keys).seed(family, vip, port.to_be(), protocol)
    }

    /// Where a flow of a service of the VIP lies: bucket and fingerprint.
    pub fn place(&self, client: Socket, port: u16, protocol: u8) -> (u32, u64) {
        let seed = self.seed((VIP.into(), port, protocol));
        let ports = u32::from(client.1.to_be()) | u32::from(port.to_be()) << 16;
        let hash = seed.hash(u64::from(u32::from_ne_bytes(client.0)), ports);
        flow::place(hash, self.identity.flow_shift)
    }

    /// A backend's counters.
    pub fn counters(&self, number: u16) -> BackendCounters {
        self.counters.backend(number).expect("counters")
    }
}

/// Keeps the calling thread on one CPU.
pub fn stay_on(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).expect("choosing a CPU");
}
