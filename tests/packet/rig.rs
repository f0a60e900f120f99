//! The program with its maps, to send packets through.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use aya::programs::{TestRun as _, TestRunOptions};
use flowgate::datapath::{
    Constants, Object, Tables,
    counters::Counters,
    memory::Shared,
    object::{self, OBJECT},
};
use lb_common::{
    abi::{Backend, BackendCounters, BackendState, Bucket, Endpoint, Identity, Wheel, ipv4},
    flow::{self, Entry},
    hash::{FlowKeys, Seed},
    verdict::Verdict,
    wheel::Index,
};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::frame::Socket;
use crate::site::{IFINDEX, OTHER_IFINDEX, OTHER_SLOT, OWN, VIP};

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

/// A loaded program and its maps. The thread stays on one CPU, since round robin is
/// counted by each for itself.
pub struct Rig {
    pub object: Object,
    pub tables: Tables,
    pub flows: Shared<Bucket>,
    pub identity: Identity,
    counters: Counters,
    counted: Vec<(Verdict, u64)>,
    services: u32,
    endpoints: BTreeMap<(u16, u8), Endpoint>,
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
    /// A program with empty maps and a table for `flows` flows.
    pub fn new(flows: u32) -> Self {
        Rig::with(
            object::new_identity(flows, &flowgate::config::model::Timeouts::default())
                .expect("random numbers"),
        )
    }

    /// A program with empty maps and this flow table.
    pub fn with(identity: Identity) -> Self {
        stay_on(sched_getcpu());
        let constants = Constants {
            identity,
            ifindex: IFINDEX,
            mac: OWN,
            sample: 0,
        };
        let mut object = Object::load(OBJECT, &constants, None).expect("loading, which needs root");
        object.program("flowgate").expect("the verifier takes it");
        let flows = object.shared("FLOWS").expect("the flow table");
        let mut tables = Tables::open(&mut object).expect("the tables");
        tables
            .put_device(OTHER_SLOT, OTHER_IFINDEX)
            .expect("a device");
        let counters = Counters::open(&mut object);
        let counted = counters.verdicts().expect("counters");
        Rig {
            object,
            tables,
            flows,
            identity,
            counters,
            counted,
            services: 0,
            endpoints: BTreeMap::new(),
        }
    }

    /// Puts an endpoint.
    pub fn endpoint(&mut self, endpoint: &Endpoint) {
        self.tables.put_endpoint(endpoint).expect("room");
    }

    /// A service of the VIP.
    pub fn service(&mut self, port: u16, protocol: u8, index: Index, wheel: &[u16]) {
        let number = self.services;
        self.services += 1;
        let at = Wheel {
            chunk: number * WHEEL_STRIDE,
            length: 0,
        };
        let keys = FlowKeys(self.identity.flow_keys);
        let vip = ipv4(VIP);
        let service = Endpoint::service(&keys, vip, port.to_be(), protocol, index, number, at);
        self.endpoints.insert((port, protocol), service);
        self.wheel(port, protocol, wheel);
    }

    /// A server that is backend `number`, whose service of the VIP has `vip_port`.
    pub fn server(&mut self, server: Socket, protocol: u8, number: u16, vip_port: u16) {
        let seed = self.seed(vip_port, protocol);
        let (address, port) = (ipv4(server.0), server.1.to_be());
        self.endpoint(&Endpoint::server(address, port, protocol, number, seed));
    }

    /// Another wheel for a service, in the same chunks.
    pub fn wheel(&mut self, port: u16, protocol: u8, wheel: &[u16]) {
        let mut service = self.endpoints[&(port, protocol)];
        self.tables.put_wheel(service.wheel.chunk, wheel);
        service.wheel.length = wheel.len() as u32;
        self.endpoint(&service);
    }

    /// The record of a service.
    pub fn record(&self, port: u16, protocol: u8) -> Endpoint {
        self.endpoints[&(port, protocol)]
    }

    /// Puts a backend.
    pub fn backend(&mut self, number: u16, backend: &Backend) {
        self.tables.backends.store(u32::from(number), backend);
    }

    /// Sets a backend's state.
    pub fn state(&mut self, number: u16, state: BackendState) {
        let mut backend = self.tables.backends.load(u32::from(number));
        backend.state = state as u8;
        self.backend(number, &backend);
    }

    /// One packet through the program, without a look at the counters.
    pub fn run(&mut self, packet: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; packet.len() + 64];
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

    /// The seed of a service of the VIP.
    fn seed(&self, port: u16, protocol: u8) -> Seed {
        let vip = u32::from_ne_bytes(VIP);
        FlowKeys(self.identity.flow_keys).seed(vip, port.to_be(), protocol)
    }

    /// Where a flow lies: bucket and fingerprint.
    pub fn place(&self, client: Socket, port: u16, protocol: u8) -> (u32, u64) {
        let seed = self.seed(port, protocol);
        let hash = seed.hash(u32::from_ne_bytes(client.0), client.1.to_be());
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
