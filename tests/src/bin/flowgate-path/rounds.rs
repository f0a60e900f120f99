//! Rounds in which every forwarder has its turn.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, ensure};
use flowgate_tests::interrupt;

use crate::{
    bed::Bed,
    forwarder::{Forwarder, Running},
    load,
    row::Row,
};

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Rounds that count.
    pub rounds: usize,
    /// The length of each measurement.
    pub time: Duration,
    /// The CPUs that may be used.
    pub cpus: Vec<usize>,
    /// Flows that the flow tables are made for.
    pub room: u32,
    /// Whether the networks are those of the machine's own cards.
    pub cards: bool,
}

/// What a row came to, a figure for each round.
#[derive(Debug)]
pub struct Measured {
    pub row: Row,
    /// Packets per second at the sink.
    pub pps: Vec<f64>,
    /// The part of the time that the senders had their CPUs.
    pub had: Vec<f64>,
    /// The share of frames that didn't get there.
    pub lost: Vec<f64>,
    /// What the bare forwarder that stood beside it came to in the same rounds; empty
    /// without one.
    pub bare: Vec<f64>,
}

/// A forwarder, and the rows that are wanted of it.
pub struct Setup {
    pub forwarder: Box<dyn Forwarder>,
    pub rows: Vec<Row>,
}

/// Share of the packets that have to be of known flows: of a million, a few find their
/// bucket full of others.
const KNOWN: f64 = 0.98;

/// Measures every forwarder, each with the bare one beside it in the same rounds. No more
/// than these two stand at once: the kernel calls XDP programs the faster the fewer there
/// are, and memory is short on small machines. Where instructions are counted, rounds
/// don't differ, and there is one set of cards: then each is measured `alone`, and the bare one once.
pub fn all(setups: &[Setup], effort: &Effort, alone: bool) -> Result<Vec<Measured>> {
    let (bare, others): (Vec<_>, Vec<_>) =
        setups.iter().partition(|setup| setup.forwarder.is_bare());
    let mut measured: Vec<Measured> = Vec::new();
    for bare in &bare {
        let has_other = others.iter().any(|other| other.is_beside(bare));
        if alone || !has_other {
            measured.extend(beside(&[bare], effort)?);
        }
    }
    for other in others {
        let bare = bare.iter().find(|bare| other.is_beside(bare));
        let pair: Vec<&Setup> = bare
            .filter(|_| !alone)
            .into_iter()
            .copied()
            .chain([other])
            .collect();
        let mut new = beside(&pair, effort)?;
        let (first, mut own): (Vec<_>, Vec<_>) = new.drain(..).partition(|one| one.row.is_bare);
        for one in &mut own {
            let mut bare = first.iter().chain(&measured);
            let bare = bare.find(|bare| one.row.is_beside(&bare.row));
            one.bare = bare.map_or_else(Vec::new, |bare| bare.pps.clone());
        }
        for one in first.into_iter().chain(own) {
            match measured.iter_mut().find(|known| known.row == one.row) {
                Some(known) => known.extend(one),
                None => measured.push(one),
            }
        }
    }
    measured.sort_by_key(|one| !one.row.is_bare);
    Ok(measured)
}

impl Measured {
    /// Adds what later rounds came to.
    fn extend(&mut self, later: Self) {
        self.pps.extend(later.pps);
        self.had.extend(later.had);
        self.lost.extend(later.lost);
        self.bare.extend(later.bare);
    }
}

impl Setup {
    /// Whether `bare` is what this one is compared with.
    fn is_beside(&self, bare: &Self) -> bool {
        self.rows
            .iter()
            .any(|row| bare.rows.iter().any(|bare| row.is_beside(bare)))
    }
}

/// Measures forwarders that stand beside one another, in turns.
fn beside(setups: &[&Setup], effort: &Effort) -> Result<Vec<Measured>> {
    let names: Vec<String> = setups.iter().map(|setup| setup.to_string()).collect();
    eprintln!("Measuring: {}", names.join(" beside "));
    let mut places = Vec::new();
    for (setup, name) in setups.iter().zip(names) {
        interrupt::check()?;
        let place = Place::new(setup, effort);
        places.push(place.with_context(|| format!("setting up {name}"))?);
    }
    for round in 0..effort.rounds {
        for place in &mut places {
            place.turn(round, effort)?;
        }
    }
    Ok(places
        .into_iter()
        .flat_map(|place| place.measured)
        .collect())
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forwarder = &self.forwarder;
        write!(f, "{}, {}", forwarder.name(), forwarder.family().name())?;
        match forwarder.scheduler() {
            Some(scheduler) => write!(f, ", {}", scheduler.name()),
            None => Ok(()),
        }
    }
}

/// A forwarder at work.
struct Place {
    running: Box<dyn Running>,
    bed: Bed,
    measured: Vec<Measured>,
}

impl Place {
    fn new(setup: &Setup, effort: &Effort) -> Result<Self> {
        let forwarder = &*setup.forwarder;
        let mut bed = Bed::build(forwarder, effort)?;
        let running = forwarder.start(&mut bed)?;
        let measured = setup.rows.iter().map(|row| Measured {
            row: row.clone(),
            pps: Vec::new(),
            had: Vec::new(),
            lost: Vec::new(),
            bare: Vec::new(),
        });
        let mut place = Self {
            running,
            bed,
            measured: measured.collect(),
        };
        for row in &setup.rows {
            load::introduce(&mut place.bed, &effort.cpus[..row.cores], row.flows)
                .with_context(|| row.to_string())?;
        }
        Ok(place)
    }

    /// Measures each row once.
    fn turn(&mut self, round: usize, effort: &Effort) -> Result<()> {
        for measured in &mut self.measured {
            let row = &measured.row;
            // CPUs may differ, by what else they do: each has its turn alone.
            let cpus = &effort.cpus;
            let cpus = match row.cores {
                1 => &cpus[round % cpus.len()..][..1],
                many => &cpus[..many],
            };
            let before = self.running.known()?;
            let window = load::measure(&mut self.bed, cpus, row.flows, effort.time)
                .with_context(|| row.to_string())?;
            if let (Some(before), Some(after)) = (before, self.running.known()?) {
                let share = (after - before) as f64 / window.sent as f64;
                ensure!(
                    share + window.lost >= KNOWN,
                    "{row}: only {:.1} % of the packets were taken for known flows'; the figure \
                     would mean nothing",
                    share * 100.0
                );
            }
            measured.pps.push(window.pps);
            measured.had.push(window.had);
            measured.lost.push(window.lost);
        }
        Ok(())
    }
}
