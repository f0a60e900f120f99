//! The eBPF object, loaded once for each interface: what is constant for an interface
//! is folded into its program.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::MapData,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    abi::{Identity, Mac, Pool, Record},
    flow::{self, BUCKET_SLOTS, Reluctance},
    hash::{FLOW_KEYS, FlowKeys},
};
use rustix::time::ClockId;

#[cfg(doc)]
use super::regions;
use super::{
    DatapathError, cpus, kernel_error,
    link::{Meaning, link},
    memory::Shared,
    regions::Regions,
};
use crate::{
    config::model::{Clock, Timeouts},
    realtime,
};

/// The embedded object: programs [`PROGRAM`], [`PROGRAM_FRAGS`] and `tick`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flowgate.o"));

/// The data plane for frames that lie in one buffer.
pub const PROGRAM: &str = "flowgate";
/// The same for frames that may lie in several: for drivers that take no other program
/// where the MTU is large.
pub const PROGRAM_FRAGS: &str = "flowgate_frags";

/// The device map.
pub(super) const DEVICES: &str = "DEVICES";
/// Where that of [`PROGRAM_FRAGS`] is pinned: the kernel lets no two programs share a
/// device map of which one takes frames in several buffers and the other doesn't.
const DEVICES_FRAGS: &str = "DEVICES_FRAGS";

/// The ring in which new connections are told.
pub(super) const OPENED: &str = "OPENED";
/// What each CPU has told.
pub(super) const WATCH_COUNTS: &str = "WATCH_COUNTS";

/// Every map that all interfaces share and that outlives the daemon, but for
/// [`regions::NAMES`].
pub const SHARED_MAPS: [&str; 8] = [
    "NEIGHBOURS",
    "NEIGHBOURS6",
    DEVICES,
    "IDENTITY",
    "FRAGMENTS",
    "TOO_BIG",
    OPENED,
    WATCH_COUNTS,
];

/// What is constant for one interface's program.
#[derive(Debug, Clone, Copy)]
pub struct Constants {
    /// The flow table's make.
    pub identity: Identity,
    /// The interface's place in the device map.
    pub egress: u32,
    /// Its MAC address.
    pub mac: Mac,
    /// One packet in this many is logged; 0 for none.
    pub sample: u32,
    /// Whether frames may lie in several buffers: for [`PROGRAM_FRAGS`].
    pub has_buffers: bool,
}

impl Constants {
    /// Those of no interface, for whoever wants the maps and the clock.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Constants {
            identity,
            egress: 0,
            mac: [0; 6],
            sample: 0,
            has_buffers: false,
        }
    }

    /// What the program calls by that name. `cpus` is the number of blocks of counters.
    fn number(&self, name: &str, cpus: u32) -> Option<u64> {
        let identity = &self.identity;
        let [a, b, c, d, e, f] = self.mac;
        Some(match name {
            "HOME_SHIFT" => u64::from(flow::home_shift(identity.flow_shift)),
            "FLOW_TIMEOUTS" => u64::from(identity.timeouts),
            "TICK_SHIFT" => u64::from(identity.tick_shift),
            "EGRESS" => u64::from(self.egress),
            "MAC_ABOVE" => u64::from_le_bytes([0, 0, a, b, c, d, e, f]),
            "SAMPLE" => u64::from(self.sample),
            "BUFFERS" => u64::from(self.has_buffers),
            "POOL_SHAPE" => identity.pool.bits(),
            "PORT_MASK" => u64::from(port_buckets(identity) - 1),
            "CPUS" => u64::from(cpus),
            _ => return None,
        })
    }
}

/// A loaded object.
pub struct Object {
    /// aya's handle. Dropping it lets go of maps and programs that aren't pinned.
    pub ebpf: Ebpf,
    regions: Regions,
}

impl Object {
    /// Loads `bytes`, an object with Flowgate's maps, and creates its maps, or takes
    /// those pinned under `pins`.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NotPermitted`], [`DatapathError::ManyCpus`] or
    /// [`DatapathError::Kernel`].
    pub fn load(
        bytes: &[u8],
        constants: &Constants,
        pins: Option<&Path>,
    ) -> Result<Self, DatapathError> {
        Self::load_logged(bytes, constants, pins, VerifierLogLevel::STATS)
    }

    /// As [`Object::load`]; a program that the kernel refuses is logged in such detail.
    ///
    /// # Errors
    ///
    /// As [`Object::load`].
    pub fn load_logged(
        bytes: &[u8],
        constants: &Constants,
        pins: Option<&Path>,
        log: VerifierLogLevel,
    ) -> Result<Self, DatapathError> {
        let identity = &constants.identity;
        let cpus = cpus::blocks()?;
        let fold = FlowKeys(identity.flow_keys).fold_keys().0;
        let reluctance = Reluctance::new(flow::Timeouts::from_bits(identity.timeouts));
        let mut loader = EbpfLoader::new();
        loader
            .verifier_log_level(log)
            .override_global("RELUCTANCE", reluctance.table(), true)
            .override_global("FOLD", &fold, true);
        if let Some(pins) = pins {
            for name in SHARED_MAPS {
                loader.map_pin_path(name, pins.join(name));
            }
            if constants.has_buffers {
                loader.map_pin_path(DEVICES, pins.join(DEVICES_FRAGS));
            }
        }
        let failed = |e: &(dyn std::error::Error + 'static)| kernel_error("creating the maps", e);
        let regions = Regions::open(identity, cpus, pins)?;
        let memory = |name: &str| regions.get(name).map(|map| map.fd().as_fd().as_raw_fd());
        let number = |name: &str| constants.number(name, cpus);
        let meaning = |name: &str| {
            let memory = memory(name).map(Meaning::Memory);
            memory.or_else(|| number(name).map(Meaning::Number))
        };
        let bytes = link(bytes, meaning).map_err(|e| failed(&e))?;
        let ebpf = loader.load(&bytes).map_err(|e| failed(&e))?;
        Ok(Object { ebpf, regions })
    }

    /// A program of the object, loaded into the kernel.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NotPermitted`] or [`DatapathError::Kernel`].
    ///
    /// # Panics
    ///
    /// When the object has no XDP program of that name.
    pub fn program(&mut self, name: &str) -> Result<&mut Xdp, DatapathError> {
        let program: &mut Xdp = self
            .ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .expect("the object has this XDP program");
        if program.fd().is_err() {
            realtime::aside(|| program.load())
                .map_err(|e| kernel_error(format!("loading the XDP program {name}"), &e))?;
        }
        Ok(program)
    }

    /// The memory of one of the object's arrays.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    ///
    /// # Panics
    ///
    /// When the object has no array of that name.
    pub fn shared<T: Record>(&self, name: &str) -> Result<Shared<T>, DatapathError> {
        map_memory(self.array(name), name)
    }

    /// One of the object's arrays.
    ///
    /// # Panics
    ///
    /// When the object has no array of that name.
    #[must_use]
    pub fn array(&self, name: &str) -> &MapData {
        self.regions.get(name).unwrap_or_else(|| {
            let map = self.ebpf.map(name).expect("the object has this map");
            let aya::maps::Map::Array(data) = map else {
                panic!("{name} is an array")
            };
            data
        })
    }

    /// The coarse clock that ages flows, modulo 2³².
    ///
    /// # Errors
    ///
    /// [`DatapathError::Kernel`].
    pub fn tick(&mut self) -> Result<u8, DatapathError> {
        let frame = [0u8; 64];
        let program = self.program("tick")?;
        let options = TestRunOptions {
            data_in: Some(&frame),
            ..TestRunOptions::new()
        };
        let result = program
            .test_run(options)
            .map_err(|e| kernel_error("reading the flow clock", &e))?;
        Ok(result.return_value as u8)
    }
}

fn map_memory<T: Record>(data: &MapData, name: &str) -> Result<Shared<T>, DatapathError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        kernel_error(format!("mapping the memory of {name}"), error)
    };
    let info = data.info().map_err(|e| failed(&e))?;
    // An element may hold many records.
    let bytes = u64::from(info.value_size()) * u64::from(info.max_entries());
    let length = bytes / size_of::<T>() as u64;
    Shared::map(data.fd().as_fd(), length as u32).map_err(|e| failed(&e))
}

/// Buckets of the flow table that an identity tells of.
#[must_use]
pub fn buckets(identity: &Identity) -> u32 {
    1 << (64 - identity.flow_shift)
}

/// Buckets of ports that there is memory for: a power of two.
pub(super) fn port_buckets(identity: &Identity) -> u32 {
    identity.pool.size().next_power_of_two()
}

/// Flows that such a table is made for: half its slots.
#[must_use]
pub fn flows(identity: &Identity) -> u64 {
    u64::from(buckets(identity)) * BUCKET_SLOTS as u64 / 2
}

/// A new identity: fresh keys, a table for `flows` flows, `timeouts` by this
/// kernel's timer frequency, no pool for `full-nat`.
///
/// # Errors
///
/// When the kernel gives no random numbers.
pub fn new_identity(flows: u32, timeouts: &Timeouts) -> std::io::Result<Identity> {
    let mut keys = [0u8; FLOW_KEYS * 8];
    let mut filled = 0;
    while filled < keys.len() {
        filled +=
            rustix::rand::getrandom(&mut keys[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    let mut flow_keys = [0; FLOW_KEYS];
    for (key, bytes) in flow_keys.iter_mut().zip(keys.chunks_exact(8)) {
        *key = u64::from_ne_bytes(bytes.try_into().expect("chunks of 8"));
    }
    let clock = clock(timeouts);
    Ok(Identity {
        version: lb_common::abi::VERSION,
        flow_shift: 64 - lb_common::limits::flow_buckets(flows).ilog2(),
        tick_shift: clock.tick_shift,
        timeouts: clock.timeouts.bits(),
        pool: Pool::default(),
        flow_keys,
    })
}

/// The clock that counts `timeouts` on this kernel.
pub(super) fn clock(timeouts: &Timeouts) -> Clock {
    // The coarse clock's resolution is one jiffy.
    let jiffy = rustix::time::clock_getres(ClockId::MonotonicCoarse);
    timeouts.clock(Duration::from_nanos(jiffy.tv_nsec.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fresh() {
        let (a, b) = (
            new_identity(1_000_000, &Timeouts::default()).unwrap(),
            new_identity(1_000_000, &Timeouts::default()).unwrap(),
        );
        assert_ne!(a.flow_keys, b.flow_keys);
        assert_eq!(flows(&a), 1 << 20);
    }
}
