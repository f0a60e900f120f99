//! The real program in the real kernel, with the site in its maps.

mod records;
mod verdicts;

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use aya::{
    maps::{HashMap, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions},
};
use flowgate::datapath::{Constants, Object, Tables, memory::Shared, object};
use lb_common::{
    abi::{Bucket, Identity, Pool, PortBucket, VERSION},
    flow::{BUCKET_SLOTS, Entry, State, Timeouts},
    hash::FLOW_KEYS,
    verdict::Verdict,
};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::{
    model::{Got, Way},
    site::{OWN, Site, Standing},
};
use records::OTHER_SLOT;
use verdicts::Verdicts;

/// Loopback, which every namespace has: nothing is sent in a test run.
const OTHER_IFINDEX: u32 = 1;
/// Binary logarithm of the flow table's buckets: so many that none overflows.
const BUCKET_BITS: u32 = 16;
/// Room behind a packet for what is put before it.
const ROOM: usize = 256;
/// A backend that isn't there.
const NOBODY: u16 = 65_535;

type Fragments = HashMap<MapData, [u32; 10], [u64; 3]>;

/// A loaded program and its maps. The thread stays on one CPU, since turns are counted
/// by each for itself.
pub struct Rig {
    object: Object,
    tables: Tables,
    flows: Shared<Bucket>,
    ports: Shared<PortBucket>,
    fragments: Fragments,
    too_big: PerCpuArray<MapData, [u64; 2]>,
    verdicts: Verdicts,
    identity: Identity,
    site: Site,
    out: Vec<u8>,
    last: (Verdict, usize),
}

/// The identity of a run: the same keys for the same seed.
fn identity(site: &Site, seed: u64) -> Identity {
    let mut random = fastrand::Rng::with_seed(seed);
    let v4 = site.pool.addresses.iter().filter(|a| a.is_ipv4()).count() as u16;
    Identity {
        version: VERSION,
        flow_shift: 64 - BUCKET_BITS,
        // So long that nothing gets old.
        tick_shift: 20,
        timeouts: Timeouts::new([200; 4]).bits(),
        pool: Pool {
            first_port: site.pool.first_port,
            buckets: site.pool.buckets,
            v4,
            v6: site.pool.addresses.len() as u16 - v4,
        },
        flow_keys: std::array::from_fn::<u64, FLOW_KEYS, _>(|_| random.u64(..)),
    }
}

impl Rig {
    /// Loads the program and fills its maps.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, for one without root.
    pub fn new(site: &Site, seed: u64) -> Result<Self> {
        let mut cpus = CpuSet::new();
        cpus.set(sched_getcpu());
        sched_setaffinity(None, &cpus).context("staying on one CPU")?;
        let identity = identity(site, seed);
        let constants = Constants {
            mac: OWN,
            ..Constants::new(identity)
        };
        let mut object = Object::load(object::OBJECT, &constants, None)?;
        object.program(object::PROGRAM)?;
        let flows = object.shared("FLOWS")?;
        let ports = object.shared("PORTS")?;
        let verdicts = Verdicts::open(&object)?;
        let mut take = |name| object.ebpf.take_map(name).context(name);
        let fragments = HashMap::try_from(take("FRAGMENTS")?)?;
        let too_big = PerCpuArray::try_from(take("TOO_BIG")?)?;
        let mut tables = Tables::open(&mut object)?;
        tables.identity.store(0, &identity);
        tables.put_device(OTHER_SLOT, OTHER_IFINDEX)?;
        tables.put_pool(&site.pool.addresses);
        let mut rig = Rig {
            object,
            tables,
            flows,
            ports,
            fragments,
            too_big,
            verdicts,
            identity,
            site: site.clone(),
            out: Vec::new(),
            last: (Verdict::PassProtocol, 0),
        };
        rig.fill()?;
        Ok(rig)
    }

    /// Forgets every flow, every fragment, every turn, and puts the site as it was.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn reset(&mut self, site: &Site) -> Result<()> {
        for word in self.flows.words().iter().chain(self.ports.words()) {
            word.store(0, Ordering::Relaxed);
        }
        let keys: Vec<_> = self.fragments.keys().collect::<Result<_, _>>()?;
        for key in keys {
            self.fragments.remove(&key)?;
        }
        for service in 0..site.services.len() {
            self.tables.reset_cursor(service as u32, 0);
        }
        for backend in site.backends.iter().flatten() {
            if self.site.backend(backend.number).map(|b| b.standing) != Some(backend.standing) {
                self.set_standing(backend.number, backend.standing)?;
            }
        }
        self.forget_told()
    }

    /// Nobody has been told that a packet was too big.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn forget_told(&mut self) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let none = vec![[0; 2]; cpus].try_into()?;
        Ok(self.too_big.set(0, none, 0)?)
    }

    /// Gives every port of the pool to an established flow of nobody's.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn exhaust_pool(&mut self) -> Result<()> {
        let now = self.object.tick()?;
        let taken = Entry::new(1, NOBODY, now, State::Established).bits();
        for bucket in 0..self.ports.length() {
            for word in &self.ports.record(bucket)[..BUCKET_SLOTS] {
                word.store(taken, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Sends one frame through the program.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the program doesn't count the frame once.
    pub fn send(&mut self, frame: &[u8]) -> Result<Got<'_>> {
        let (way, length) = {
            self.out.resize(frame.len() + ROOM, 0);
            let options = TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut self.out),
                ..TestRunOptions::new()
            };
            let program = self.object.program(object::PROGRAM)?;
            let result = program.test_run(options).context("a test run")?;
            let way = match result.return_value {
                1 => Way::Drop,
                2 => Way::Pass,
                3 => Way::Transmit,
                4 => Way::Redirect,
                other => bail!("the program told the kernel {other}, which is no way to go"),
            };
            (way, result.data_size_out as usize)
        };
        let verdict = self.verdicts.risen()?;
        self.last = (verdict, length);
        Ok(Got {
            verdict,
            way,
            frame: &self.out[..length],
        })
    }

    /// What became of the last frame.
    #[must_use]
    pub fn last(&self) -> (Verdict, &[u8]) {
        (self.last.0, &self.out[..self.last.1])
    }

    /// Sets a backend's standing, and its service's wheel with it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_standing(&mut self, number: u16, standing: Standing) -> Result<()> {
        self.site.set_standing(number, standing);
        let backend = self.site.backend(number).context("no such backend")?;
        let service = backend.service;
        let record = records::backend(&self.site, backend);
        self.tables.backends.store(u32::from(number), &record);
        self.put_service(service)
    }
}
