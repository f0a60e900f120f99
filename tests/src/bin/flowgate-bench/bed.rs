//! The loaded programs, and what a run of one takes.

use std::{collections::BTreeMap, fs, os::fd::AsRawFd as _};

use anyhow::{Context, Result, bail};
use aya::{
    maps::{Array, Map, MapData, PerCpuArray, PerCpuValues},
    programs::{TestRun as _, TestRunOptions},
};
use flowgate::{
    config::model::Timeouts,
    datapath::{
        Constants, Object, Tables,
        counters::Counters,
        memory::Shared,
        object::{buckets, new_identity},
    },
};
use lb_common::{
    abi::{Bucket, Forward, Identity, PortBucket},
    flow::BUCKET_SLOTS,
    verdict::Verdict,
};
use rustix::time::{ClockId, clock_gettime};

use crate::frame::{self, NODE_MAC};
use crate::scenario::{Packets, Scenario};
use crate::site;
use crate::traffic::{Dice, Traffic};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flowgate-bench.o"));

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Swaps the MAC addresses and sends the packet back.
    Swap,
    /// Writes the packet.
    Prologue,
    /// Writes the packet, then the product's pipeline.
    Table,
    /// Writes the packet, then the same with a kernel LRU hash.
    Lru,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Swap => "swap",
            Program::Prologue => "prologue",
            Program::Table => "table",
            Program::Lru => "lru",
        }
    }
}

/// Programs and maps.
pub struct Bed {
    object: Object,
    tables: Tables,
    flows: Shared<Bucket>,
    ports: Shared<PortBucket>,
    identity: Identity,
    /// Flows that the flow table is made for.
    room: u32,
    programs: Vec<Program>,
    counters: Counters,
    traffic: Array<MapData, Record<Traffic>>,
    dice: PerCpuArray<MapData, Record<Dice>>,
    /// Bytes that the service's way puts before a packet.
    overhead: u16,
}

const XDP_ABORTED: u32 = 0;

/// A record as aya takes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Record<T>(T);

// SAFETY: integers only, and their sizes add up without padding.
unsafe impl aya::Pod for Record<Traffic> {}
// SAFETY: two u64.
unsafe impl aya::Pod for Record<Dice> {}

const _: () = assert!(size_of::<Traffic>() == 7 * 8 + 4 + 2 + 2 + 6 * 4);

impl Bed {
    /// Loads the programs and sets up what they balance.
    pub fn new(scenario: &Scenario, programs: &[Program]) -> Result<Self> {
        let identity = Identity {
            pool: site::pool(scenario.table),
            ..new_identity(scenario.table, &Timeouts::default())
                .context("the kernel gives no random numbers")?
        };
        let constants = Constants {
            mac: NODE_MAC,
            ..Constants::new(identity)
        };
        let mut object = Object::load(OBJECT, &constants, None)?;
        // Before maps are taken out of the object, which programs are loaded with.
        for program in programs {
            object.program(program.name())?;
        }
        let mut tables = Tables::open(&mut object)?;
        site::set_up(&mut tables, &identity, &scenario.service)?;
        let counters = Counters::open(&object)?;
        let mut take = |name| object.ebpf.take_map(name).expect("the object has this map");
        let kind = "the map has its kind by its declaration";
        Ok(Bed {
            counters,
            traffic: take("TRAFFIC").try_into().expect(kind),
            dice: take("DICE").try_into().expect(kind),
            flows: object.shared("FLOWS")?,
            ports: object.shared("PORTS")?,
            overhead: Forward::overhead(scenario.service.forward),
            tables,
            identity,
            room: scenario.table,
            programs: programs.to_vec(),
            object,
        })
    }

    /// The same for another scenario, with tables as empty as new ones, where that needs
    /// none of other sizes: loading takes longer than many a measurement. What the kernel's
    /// table holds can't be taken out in one go.
    pub fn renewed(mut self, scenario: &Scenario, programs: &[Program]) -> Result<Option<Self>> {
        let fits = self.room == scenario.table && self.programs == programs;
        if !fits || programs.contains(&Program::Lru) {
            return Ok(None);
        }
        let empty = Bucket {
            entries: [0; BUCKET_SLOTS],
        };
        (0..self.flows.length()).for_each(|bucket| self.flows.store(bucket, &empty));
        for bucket in 0..self.ports.length() {
            // An owner without an entry is nobody's.
            let old = self.ports.load(bucket);
            let entries = empty.entries;
            self.ports.store(bucket, &PortBucket { entries, ..old });
        }
        site::set_up(&mut self.tables, &self.identity, &scenario.service)?;
        self.overhead = Forward::overhead(scenario.service.forward);
        Ok(Some(self))
    }

    /// Chooses the packets of the runs that follow. A way back to the client adds nothing
    /// to them.
    pub fn set(&mut self, packets: &Packets) -> Result<()> {
        let record = frame::traffic(
            &packets.frame,
            packets.clients,
            packets.flows,
            packets.to_client,
            self.overhead,
        );
        self.traffic
            .set(0, Record(record), 0)
            .context("choosing the packets")?;
        let dice = Dice {
            random: 0x9e37_79b9_7f4a_7c15,
            next: u64::from(packets.first),
        };
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| {
            anyhow::Error::new(error).context(format!("reading the number of CPUs from {file}"))
        })?;
        let values = PerCpuValues::try_from(vec![Record(dice); cpus])?;
        self.dice
            .set(0, values, 0)
            .context("setting the first client")
    }

    /// Runs a program `repeat` times on frames of this length. What one run takes, in
    /// nanoseconds of this thread's CPU time: others' turns on the CPU don't count.
    pub fn run(&mut self, program: Program, frame: &[u8], repeat: u32) -> Result<f64> {
        let (took, _) = self.test(program, frame, repeat, None)?;
        Ok(took / f64::from(repeat))
    }

    /// Runs the product once: the frame as it is sent.
    pub fn forwarded(&mut self, frame: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; frame.len()];
        let (_, length) = self.test(Program::Table, frame, 1, Some(&mut out))?;
        out.truncate(length);
        Ok(out)
    }

    fn test(
        &mut self,
        program: Program,
        frame: &[u8],
        repeat: u32,
        out: Option<&mut [u8]>,
    ) -> Result<(f64, usize)> {
        let name = program.name();
        let program = self.object.program(name)?;
        // As a run before would have left it.
        let mut grown = vec![0; usize::from(self.overhead)];
        grown.extend_from_slice(frame);
        let before = cpu_ns();
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(&grown),
                data_out: out,
                repeat,
                ..TestRunOptions::new()
            })
            .with_context(|| format!("running the program {name}"))?;
        let took = cpu_ns() - before;
        if result.return_value == XDP_ABORTED {
            bail!("the program {name} aborted a packet");
        }
        Ok((took, result.data_size_out as usize))
    }

    /// Packets by verdict since the programs were loaded.
    pub fn verdicts(&self) -> BTreeMap<Verdict, u64> {
        self.counters.verdicts().into_iter().collect()
    }

    /// Whether the kernel compiled the program.
    pub fn is_compiled(&mut self) -> Result<bool> {
        let info = self.object.program(Program::Table.name())?.info()?;
        Ok(info.size_jitted() > 0)
    }

    /// Bytes that the flow table takes for each of its slots.
    pub fn bytes_per_slot(&self) -> Result<f64> {
        let info = self.object.array("FLOWS").info()?;
        let bytes = f64::from(info.value_size()) * f64::from(info.max_entries());
        Ok(bytes / (f64::from(buckets(&self.identity)) * BUCKET_SLOTS as f64))
    }

    /// Bytes that the kernel says the reference takes for each of its entries.
    pub fn bytes_per_entry(&self) -> Result<f64> {
        use std::os::fd::AsFd as _;
        let Some(Map::LruHashMap(data)) = self.object.ebpf.map("LRU") else {
            bail!("LRU is not an LRU hash");
        };
        let path = format!("/proc/self/fdinfo/{}", data.fd().as_fd().as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let bytes: f64 = text
            .lines()
            .find_map(|line| line.strip_prefix("memlock:"))
            .and_then(|value| value.trim().parse().ok())
            .with_context(|| format!("{path} doesn't tell the map's memory"))?;
        Ok(bytes / f64::from(data.info()?.max_entries()))
    }
}

fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
