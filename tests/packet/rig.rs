//! The program with its maps, to send packets through.

mod flows;
mod lent;
mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::{
    maps::{HashMap, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions},
};
use flowgate::datapath::{
    Constants, Object, Tables,
    counters::{BackendCounters, Counters},
    memory::Shared,
    object::{self, OBJECT},
};
use lb_common::{
    abi::{Address, Bucket, Endpoint, Family, Identity, Pool, PortBucket, ipv4, ipv6},
    verdict::Verdict,
};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

pub use self::lent::{Lent, lend};
use crate::site::{OTHER_IFINDEX, OTHER_SLOT, OWN, POOL4, POOL6};

/// What the kernel is told (`enum xdp_action`).
pub const XDP_ABORTED: u32 = 0;
pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_TX: u32 = 3;
pub const XDP_REDIRECT: u32 = 4;

/// The shortest frame that `BPF_PROG_TEST_RUN` takes: an Ethernet header.
pub const SHORTEST: usize = 14;

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

/// Flows that the table of a lent rig is for.
const FLOWS: u32 = 1_024;

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
            mac: OWN,
            ..Constants::new(identity)
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
        tables.put_pool(&[POOL4.into(), POOL6.into()]);
        let counters = Counters::open(&object).expect("counters");
        let counted = counters.verdicts();
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

    /// One packet through the program, without a look at the counters.
    pub fn run(&mut self, packet: &[u8]) -> (u32, Vec<u8>) {
        run(&mut self.object, "flowgate", packet)
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
        let now = self.counters.verdicts();
        let before = std::mem::replace(&mut self.counted, now);
        self.counted
            .iter()
            .zip(before)
            .map(|(&(verdict, now), (_, before))| (verdict, now - before))
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    /// All words of one of the program's arrays.
    pub fn words(&self, name: &str) -> Shared<u64> {
        self.object.shared(name).expect("mapping it")
    }

    /// A backend's counters.
    pub fn counters(&self, number: u16) -> BackendCounters {
        self.counters.backend(number)
    }
}

/// One packet through a program of an object: what the kernel is told, and the packet.
pub fn run(object: &mut Object, name: &str, packet: &[u8]) -> (u32, Vec<u8>) {
    let mut out = vec![0; packet.len() + 128];
    let program = object.program(name).expect("loaded");
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut out),
        ..TestRunOptions::new()
    };
    let result = program.test_run(options).expect("a test run");
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

/// Keeps the calling thread on one CPU.
pub fn stay_on(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).expect("choosing a CPU");
}
