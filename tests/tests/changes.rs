//! Connections live through changes of their service, although the data plane remembers
//! flows only where a change moved something (`maglev`, `dsr`).
//!
//! Some clients stay from before the first change until after the last, at servers that
//! are drained, enabled and weighted but not removed; newcomers come all the time, and
//! meet servers that are added and removed too. No connection may break, but for those
//! whose own server was removed under them, and none may begin at a server that is
//! drained or removed.
//!
//! The changes are drawn by a seed: the variable `FLOWGATE_SEED`, else [`SEED`].

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use flowgate_tests::{
    counters,
    crowd::{Crowd, Plan},
    farm::{self, Farm, SERVICE, VIP},
    wait::{eventually, let_pass, slowness},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const SEED: u64 = 1;
/// Servers that are never removed, and those that come and go; by number.
const LASTING: u8 = 5;
const SERVERS: u8 = 8;
/// Servers that take connections at any time, at least.
const ENABLED: usize = 2;
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How much of it. On a slow machine clients take more time, and flows are remembered
/// longer.
struct Size {
    stay: usize,
    changes: u32,
    /// Between two messages of a client.
    pace: Duration,
    newcomers: Duration,
    /// The longest time from one change to the next.
    rest: Duration,
    /// The time that flows are remembered: short, so that places come to rest.
    established: Duration,
}

#[test]
fn changes_break_no_connection() -> Result<()> {
    live_through(&Size {
        stay: 300,
        changes: 12,
        pace: Duration::from_millis(500),
        newcomers: Duration::from_millis(20),
        rest: Duration::from_millis(1500),
        established: Duration::from_secs(3),
    })
}

#[test]
#[ignore = "takes minutes, and most of the machine"]
fn a_hundred_changes_break_none_of_ten_thousand_connections() -> Result<()> {
    live_through(&Size {
        stay: 10_000,
        changes: 100,
        pace: Duration::from_secs(2),
        newcomers: Duration::from_millis(20),
        rest: Duration::from_secs(2),
        established: Duration::from_secs(15),
    })
}

fn live_through(size: &Size) -> Result<()> {
    as_many_files_as_possible()?;
    let seed = std::env::var("FLOWGATE_SEED");
    let seed = seed.ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    let farm = Farm::build(SERVERS, LASTING, size.established * slowness())?;
    changed(&farm, size, seed)
        .map_err(|error| anyhow!("seed {seed}: {error:#}\n{}", farm.flowgate.describe()))
}

fn changed(farm: &Farm, size: &Size, seed: u64) -> Result<()> {
    let plan = Plan {
        vip: VIP,
        addresses: farm::client_addresses().collect(),
        stay: size.stay,
        pace: size.pace * slowness(),
        newcomers: size.newcomers * slowness(),
    };
    let begun = Instant::now();
    let crowd = Crowd::start(&farm.client, SERVERS, plan)?;
    (LASTING + 1..=SERVERS).for_each(|server| crowd.board.close(server));
    all_heard(&crowd, &vec![0; size.stay], 1)?;
    let opened = begun.elapsed();

    let mut changes = Changes::new(farm, &crowd, seed);
    let begun = Instant::now();
    for _ in 0..size.changes {
        let change = changes.make()?;
        println!("{:6.2} s: {change}", begun.elapsed().as_secs_f64());
        crowd.board.check().context(change)?;
        // Changes come one upon another, or not.
        let rest = changes.dice.below(size.rest.as_millis() as u64 + 1);
        let_pass(Duration::from_millis(rest))?;
    }
    let last = crowd.board.heard();
    all_heard(&crowd, &last, 2)?;
    let took = begun.elapsed();

    let board = crowd.finish()?;
    board.check()?;
    let heard = board.heard();
    println!(
        "seed {seed}: {} connections (opened in {opened:?}) lived through {} changes in {took:?}, \
         with {} to {} echoes each; {} newcomers; {} lost their server",
        size.stay,
        size.changes,
        heard.iter().min().unwrap_or(&0),
        heard.iter().max().unwrap_or(&0),
        board.newcomers(),
        board.bereft(),
    );
    ensure!(board.newcomers() > 0, "nobody came");
    by_both_ways(farm)
}

/// Connections went by the wheel alone, were entered when their places moved, and were
/// then followed: else this has tried nothing.
fn by_both_ways(farm: &Farm) -> Result<()> {
    let verdicts = counters::of_verdicts(&farm.flowgate)?;
    for label in ["forward_stable", "forward_adopted", "forward_known"] {
        let packets = verdicts[label];
        println!("{label}: {packets} packets");
        ensure!(packets > 0, "no packet became {label}");
    }
    Ok(())
}

/// Waits until everybody who stays has heard so many echoes since `before`.
fn all_heard(crowd: &Crowd, before: &[u64], more: u64) -> Result<()> {
    eventually(DEADLINE, "an echo for everybody who stays", || {
        crowd.board.check()?;
        let heard = crowd.board.heard();
        let all = heard
            .iter()
            .zip(before)
            .all(|(now, then)| *now >= then + more);
        Ok(all.then_some(()))
    })
}

/// What can be done to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Drain,
    Enable,
    Weigh,
    Add,
    /// Once it has no connection left.
    Remove,
    /// While it has some.
    RemoveAtOnce,
}

const KINDS: [Kind; 8] = [
    Kind::Drain,
    Kind::Enable,
    Kind::Weigh,
    Kind::Add,
    Kind::Remove,
    Kind::Drain,
    Kind::Add,
    Kind::RemoveAtOnce,
];

/// A backend of the service, as it was told to be.
#[derive(Debug, Clone, Copy)]
struct Backend {
    is_enabled: bool,
    weight: u64,
}

struct Changes<'a> {
    farm: &'a Farm,
    crowd: &'a Crowd,
    dice: Dice,
    backends: BTreeMap<u8, Backend>,
    /// What is still to be drawn before all begins again.
    bag: Vec<Kind>,
}

impl<'a> Changes<'a> {
    fn new(farm: &'a Farm, crowd: &'a Crowd, seed: u64) -> Self {
        let backend = Backend {
            is_enabled: true,
            weight: 1,
        };
        Self {
            farm,
            crowd,
            dice: Dice(seed),
            backends: (1..=LASTING).map(|server| (server, backend)).collect(),
            bag: Vec::new(),
        }
    }

    /// Makes one change, and tells which.
    fn make(&mut self) -> Result<String> {
        loop {
            if self.bag.is_empty() {
                self.bag.extend(KINDS);
            }
            let drawn = self.dice.below(self.bag.len() as u64) as usize;
            let kind = self.bag.swap_remove(drawn);
            let candidates = self.candidates(kind);
            if let Some(server) = self.dice.one_of(&candidates) {
                self.apply(kind, server)?;
                let now = self.backends.get(&server);
                return Ok(format!("{kind:?} {server}, which is now {now:?}"));
            }
        }
    }

    /// The servers that it can be done to.
    fn candidates(&self, kind: Kind) -> Vec<u8> {
        let enabled = self.backends.values().filter(|it| it.is_enabled).count();
        let fits = |server: &u8| {
            let backend = self.backends.get(server);
            let is_enabled = backend.is_some_and(|backend| backend.is_enabled);
            let may_close = !is_enabled || enabled > ENABLED;
            match kind {
                Kind::Drain => is_enabled && may_close,
                Kind::Enable => backend.is_some() && !is_enabled,
                Kind::Weigh => backend.is_some(),
                Kind::Add => backend.is_none(),
                Kind::Remove | Kind::RemoveAtOnce => {
                    backend.is_some() && *server > LASTING && may_close
                }
            }
        };
        (1..=SERVERS).filter(fits).collect()
    }

    fn apply(&mut self, kind: Kind, server: u8) -> Result<()> {
        let board = &self.crowd.board;
        match kind {
            Kind::Drain => self.drain(server),
            Kind::Enable => {
                board.open(server);
                self.backend("enable", server, &[])?;
                self.known(server).is_enabled = true;
                Ok(())
            }
            Kind::Weigh => {
                let now = self.known(server).weight;
                let weight = (now + self.dice.below(3)) % 4 + 1;
                self.backend("weight", server, &[&weight.to_string()])?;
                self.known(server).weight = weight;
                Ok(())
            }
            Kind::Add => {
                board.open(server);
                let address = farm::own_address(server).to_string();
                self.backend("add", server, &[&address])?;
                let backend = Backend {
                    is_enabled: true,
                    weight: 1,
                };
                self.backends.insert(server, backend);
                Ok(())
            }
            Kind::Remove => {
                if self.known(server).is_enabled {
                    self.drain(server)?;
                }
                eventually(DEADLINE, "the drained server's guests leave", || {
                    self.crowd.board.check()?;
                    Ok((self.crowd.board.talking(server) == 0).then_some(()))
                })?;
                self.remove(server)
            }
            Kind::RemoveAtOnce => self.remove(server),
        }
    }

    fn drain(&mut self, server: u8) -> Result<()> {
        self.backend("drain", server, &[])?;
        self.crowd.board.close(server);
        self.known(server).is_enabled = false;
        Ok(())
    }

    fn remove(&mut self, server: u8) -> Result<()> {
        let board = &self.crowd.board;
        board.remove(server, || self.backend("remove", server, &[]))?;
        self.backends.remove(&server);
        Ok(())
    }

    fn known(&mut self, server: u8) -> &mut Backend {
        let backend = self.backends.get_mut(&server);
        backend.expect("only backends of the service are changed")
    }

    fn backend(&self, verb: &str, server: u8, more: &[&str]) -> Result<()> {
        let name = farm::name(server);
        let arguments = [&["backend", verb, SERVICE, &name], more].concat();
        self.farm.flowgate.said(&arguments).map(drop)
    }
}

/// Numbers that look random and come again with the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_of(&mut self, servers: &[u8]) -> Option<u8> {
        let end = servers.len() as u64;
        (end > 0).then(|| servers[self.below(end) as usize])
    }
}

/// A connection needs one.
fn as_many_files_as_possible() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("the limit of open files")
}
