//! The run: packet after packet through both, and a look at what came out.

use std::collections::BTreeMap;

use anyhow::Result;
use fastrand::Rng;
use lb_common::verdict::Verdict;
use rustix::time::{ClockId, clock_gettime};

use crate::{
    audit,
    generate::Generator,
    model::{Got, Model, Outcome, Way},
    rig::Rig,
    site::{Site, Standing, standard},
};

/// Packets between two resets of all tables: a difference is found again by replaying
/// these at most.
pub const ROUND: u64 = 20_000;
/// Packets between two changes of a backend's standing.
const CHANGE: u64 = 251;
/// Senders told between two resets of the counter that limits them.
const TELL: u32 = 900;

/// What should not be.
#[derive(Debug)]
pub struct Difference {
    /// The packet's number in the run.
    pub index: u64,
    /// The packet.
    pub packet: Vec<u8>,
    /// What the program counted.
    pub verdict: Verdict,
    /// What it told the kernel.
    pub way: Way,
    /// What it made of the packet.
    pub frame: Vec<u8>,
    /// What should have become of it: one of these.
    pub expected: Vec<Outcome>,
    /// A checksum that is wrong though all were right before.
    pub checksum: Option<audit::Checksum>,
}

/// What a round tries beside ordinary traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Backends come and go.
    Ordinary,
    /// Nothing changes.
    Steady,
    /// The pool has no ports left.
    NoPorts,
    /// Nobody forgets who was told.
    Limited,
}

/// A run.
pub struct Fuzz {
    rig: Rig,
    model: Model,
    generator: Generator,
    site: Site,
    seed: u64,
    round: Round,
    told: u32,
    /// The round's packets.
    history: Vec<Vec<u8>>,
    /// How often each verdict came.
    pub histogram: BTreeMap<Verdict, u64>,
}

/// A number that depends on all bits of both.
fn mix(seed: u64, index: u64) -> u64 {
    let mut random = Rng::with_seed(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    random.u64(..)
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Fuzz {
    /// Loads the program.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, for one without root.
    pub fn new(seed: u64) -> Result<Self> {
        let site = standard();
        Ok(Fuzz {
            rig: Rig::new(&site, seed)?,
            model: Model::new(site.clone()),
            generator: Generator::default(),
            site,
            seed,
            round: Round::Ordinary,
            told: 0,
            history: Vec::new(),
            histogram: BTreeMap::new(),
        })
    }

    /// Sends packet number `index`. Packets of a round must be sent in their order, from
    /// its first one on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; inside, a difference.
    pub fn step(&mut self, index: u64) -> Result<Result<(), Box<Difference>>> {
        if index.is_multiple_of(ROUND) {
            self.begin(index / ROUND)?;
        }
        if self.round == Round::Ordinary && index.is_multiple_of(CHANGE) {
            self.change(index)?;
        }
        let packet = self.generator.next(&self.model.site, mix(self.seed, index));
        let result = self.send(index, &packet);
        self.history.push(packet);
        result
    }

    /// The fewest packets of this round that must go before one for it to go wrong, if
    /// it does so without changes of the site. Ends the round.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn reduced(&mut self, packet: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        let mut needed = std::mem::take(&mut self.history);
        // The last one is the packet itself.
        needed.pop();
        if !self.goes_wrong(&needed, packet)? {
            return Ok(None);
        }
        let mut part = needed.len();
        while part > 0 {
            let mut from = 0;
            while from < needed.len() {
                let mut fewer = needed.clone();
                fewer.drain(from..needed.len().min(from + part));
                if self.goes_wrong(&fewer, packet)? {
                    needed = fewer;
                } else {
                    from += part;
                }
            }
            part /= 2;
        }
        Ok(Some(needed))
    }

    fn goes_wrong(&mut self, before: &[Vec<u8>], packet: &[u8]) -> Result<bool> {
        self.begin(0)?;
        for packet in before {
            // What goes wrong here is another story.
            let _ = self.send(0, packet)?;
        }
        Ok(self.send(0, packet)?.is_err())
    }

    /// Sends one packet of anybody's.
    ///
    /// # Errors
    ///
    /// As for [`Fuzz::step`].
    pub fn send(&mut self, index: u64, packet: &[u8]) -> Result<Result<(), Box<Difference>>> {
        let before = now();
        let got = self.rig.send(packet)?;
        self.model.moment = (before, now());
        *self.histogram.entry(got.verdict).or_default() += 1;
        let judged = self.model.judge(packet, &got);
        let checksum = match &judged {
            Ok(()) => broken(packet, &got),
            Err(_) => None,
        };
        let result = match (judged, checksum) {
            (Ok(()), None) => Ok(()),
            (judged, checksum) => Err(Box::new(Difference {
                index,
                packet: packet.to_vec(),
                verdict: got.verdict,
                way: got.way,
                frame: got.frame.to_vec(),
                expected: judged.err().unwrap_or_default(),
                checksum,
            })),
        };
        self.generator.saw(packet, &got);
        if matches!(got.verdict, Verdict::AnswerTooBig | Verdict::RelayTooBig) {
            self.told += 1;
        }
        if self.told >= TELL && self.round != Round::Limited {
            self.forget_told()?;
        }
        Ok(result)
    }

    /// Sends one packet, and gives the verdict and the frame that came out too.
    ///
    /// # Errors
    ///
    /// As for [`Fuzz::step`].
    #[allow(
        clippy::type_complexity,
        reason = "three things that belong to one look"
    )]
    pub fn look(
        &mut self,
        packet: &[u8],
    ) -> Result<(Result<(), Box<Difference>>, Verdict, Vec<u8>)> {
        let judged = self.send(0, packet)?;
        let (verdict, frame) = self.rig.last();
        Ok((judged, verdict, frame.to_vec()))
    }

    fn forget_told(&mut self) -> Result<()> {
        self.told = 0;
        self.model.forget_told();
        self.rig.forget_told()
    }

    /// Empties all tables.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn begin(&mut self, round: u64) -> Result<()> {
        let site = self.site.clone();
        self.rig.reset(&site)?;
        self.model.forget(site);
        self.generator = Generator::default();
        self.history.clear();
        self.forget_told()?;
        self.round = match round % 8 {
            3 => Round::NoPorts,
            5 => Round::Limited,
            6 => Round::Steady,
            _ => Round::Ordinary,
        };
        if self.round == Round::NoPorts {
            self.model.no_ports = true;
            self.rig.exhaust_pool()?;
        }
        Ok(())
    }

    /// A backend comes or goes.
    fn change(&mut self, index: u64) -> Result<()> {
        let mut random = Rng::with_seed(mix(!self.seed, index));
        let number = random.u16(1..self.site.backends.len() as u16);
        let standing = match random.u32(0..5) {
            0 => Standing::Down,
            1 => Standing::Draining,
            _ => Standing::Active,
        };
        self.model.set_standing(number, standing);
        self.rig.set_standing(number, standing)
    }
}

/// A checksum of a frame that was sent which is wrong, though all were right before.
fn broken(packet: &[u8], got: &Got<'_>) -> Option<audit::Checksum> {
    if packet == got.frame || got.way == Way::Drop {
        return None;
    }
    if audit::checksums(packet).iter().any(|sum| !sum.valid) {
        return None;
    }
    audit::checksums(got.frame)
        .into_iter()
        .find(|sum| !sum.valid)
}
