//! The programs around a forwarder, and the barest forwarders: loaded for one bed.

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, DevMap, MapData, PerCpuArray, PerCpuValues},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode, links::FdLink},
};
use flowgate_tests::link::End;
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

use crate::{
    addresses::Mac,
    records::{Arrived, Dice, Expected, Macs, Stream, WORDS},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flowgate-path.o"));

/// Frames that the kernel hands over at once: its default, and what a driver takes in one
/// turn.
const BATCH: u32 = 64;

/// A program of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Sink,
    Pass,
    BareRedirect,
    BareTx,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Pass => "pass",
            Self::BareRedirect => "bare_redirect",
            Self::BareTx => "bare_tx",
        }
    }
}

const GENERATE: &str = "generate";

/// The loaded object.
pub struct Programs {
    ebpf: Ebpf,
    stream: Array<MapData, Record<Stream>>,
    dice: PerCpuArray<MapData, Record<Dice>>,
    expected: Array<MapData, Record<Expected>>,
    arrived: PerCpuArray<MapData, Record<Arrived>>,
    next_hop: Array<MapData, Record<Macs>>,
    behind: DevMap<MapData>,
    links: Vec<FdLink>,
    /// A frame of the length of those that are sent.
    frame: Vec<u8>,
}

/// A record as aya takes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Record<T>(T);

// SAFETY: integers only, and their sizes add up without padding.
unsafe impl aya::Pod for Record<Stream> {}
// SAFETY: likewise.
unsafe impl aya::Pod for Record<Dice> {}
// SAFETY: likewise.
unsafe impl aya::Pod for Record<Expected> {}
// SAFETY: likewise.
unsafe impl aya::Pod for Record<Arrived> {}
// SAFETY: likewise.
unsafe impl aya::Pod for Record<Macs> {}

const _: () = assert!(size_of::<Stream>() == WORDS * 8 + 6 * 4);
const _: () = assert!(size_of::<Dice>() == 16 && size_of::<Arrived>() == 16);
const _: () = assert!(size_of::<Expected>() == 2 * WORDS * 8 && size_of::<Macs>() == 16);

impl Programs {
    /// Loads the generator; other programs when they are attached.
    pub fn load() -> Result<Self> {
        let mut ebpf = Ebpf::load(OBJECT).context("creating the generator's maps")?;
        let mut take = |name| ebpf.take_map(name).expect("the object has this map");
        let kind = "the map has its kind by its declaration";
        let mut programs = Self {
            stream: take("STREAM").try_into().expect(kind),
            dice: take("DICE").try_into().expect(kind),
            expected: take("EXPECTED").try_into().expect(kind),
            arrived: take("ARRIVED").try_into().expect(kind),
            next_hop: take("NEXT_HOP").try_into().expect(kind),
            behind: take("BEHIND").try_into().expect(kind),
            ebpf,
            links: Vec::new(),
            frame: Vec::new(),
        };
        programs.program(GENERATE)?;
        Ok(programs)
    }

    fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name);
        let program: &mut Xdp = program
            .and_then(|program| program.try_into().ok())
            .expect("the object has this XDP program");
        if program.fd().is_err() {
            program
                .load()
                .with_context(|| format!("loading the program {name}"))?;
        }
        Ok(program)
    }

    /// Puts a program on an interface, in the driver, until this is dropped.
    pub fn attach(&mut self, end: End<'_>, program: Program) -> Result<()> {
        let name = program.name();
        let program = self.program(name)?;
        let link = end
            .host
            .run(|| {
                let id = program.attach(end.device, XdpMode::Driver)?;
                let link = program.take_link(id)?;
                // Without links in the kernel aya attaches by netlink, which this isn't.
                anyhow::Ok(FdLink::try_from(link)?)
            })
            .with_context(|| format!("attaching the program {name} to {}", end.device))?;
        self.links.push(link);
        Ok(())
    }

    /// Says what the bare forwarder does: it sends out of `end`, to that MAC address.
    pub fn set_bare(&mut self, end: End<'_>, destination: Mac, source: Mac) -> Result<()> {
        let mut bytes = [0; 16];
        bytes[0..6].copy_from_slice(&destination);
        bytes[6..12].copy_from_slice(&source);
        let word = |at: usize| bytes[at..].first_chunk().copied().unwrap_or_default();
        let macs = Macs {
            low: u64::from_ne_bytes(word(0)),
            high: u64::from_ne_bytes(word(8)) as u32,
            reserved: 0,
        };
        self.next_hop
            .set(0, Record(macs), 0)
            .context("telling the bare forwarder its next hop")?;
        // Device maps are filled in the namespace of their devices.
        end.host.run(|| {
            let index = index(end.device)?;
            self.behind
                .set(0, index, None, 0)
                .context("telling the bare forwarder its way out")
        })
    }

    /// Says what has to arrive.
    pub fn expect(&mut self, expected: Expected) -> Result<()> {
        self.expected
            .set(0, Record(expected), 0)
            .context("telling the sink what is right")
    }

    /// Chooses what is sent, in frames of `length` bytes. `dice` are each possible CPU's, by its
    /// number.
    pub fn set(
        &mut self,
        stream: Stream,
        length: usize,
        dice: impl Fn(usize) -> Dice,
    ) -> Result<()> {
        self.frame = vec![0; length];
        self.stream
            .set(0, Record(stream), 0)
            .context("choosing the frames")?;
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| {
            anyhow::Error::new(error).context(format!("reading {file}"))
        })?;
        let values = (0..cpus).map(|cpu| Record(dice(cpu))).collect::<Vec<_>>();
        self.dice
            .set(0, PerCpuValues::try_from(values)?, 0)
            .context("choosing the clients")
    }

    /// Sends so many frames, on this thread's CPU and in its namespace.
    pub fn send(&self, frames: u32) -> Result<()> {
        let program = self.ebpf.program(GENERATE);
        let program: &Xdp = program
            .and_then(|program| program.try_into().ok())
            .expect("the object has this XDP program");
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        program
            .test_run(options)
            .context("sending live frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18)")?;
        Ok(())
    }

    /// What has arrived since this was loaded, on all CPUs.
    pub fn arrived(&self) -> Result<Arrived> {
        let sum = |sum: Arrived, one: &Record<Arrived>| Arrived {
            right: sum.right + one.0.right,
            wrong: sum.wrong + one.0.wrong,
        };
        Ok(self.arrived_on_each()?.iter().fold(Arrived::default(), sum))
    }

    /// The same, on that CPU.
    pub fn arrived_on(&self, cpu: usize) -> Result<Arrived> {
        Ok(self.arrived_on_each()?[cpu].0)
    }

    fn arrived_on_each(&self) -> Result<PerCpuValues<Record<Arrived>>> {
        self.arrived.get(&0, 0).context("reading the sink")
    }
}

/// The number of an interface of this thread's namespace.
pub fn index(device: &str) -> Result<u32> {
    let probe = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let index = name_to_index(&probe, device);
    index.with_context(|| format!("there is no interface {device}"))
}
