//! One trial: a pair, clients, a fault, and what became of it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};

use super::{
    arp::Arp,
    bed::{BYPASS, Bed, SERVICE, Side, client_addresses, service},
    clock::Clock,
    contender::{Contender, Running},
    fault::Fault,
    flow,
    load::{Connection, End, Load, Plan},
    outcome::{Outcome, Record},
    probe::Probing,
    syn,
};
use crate::wait::{eventually, let_pass};

/// How long the pair may take for anything before the fault.
const READY: Duration = Duration::from_secs(30);
/// How long clients talk before the fault, once all are connected.
const CALM: Duration = Duration::from_millis(600);
/// What is looked at after the fault at least.
const LEAST: Duration = Duration::from_millis(800);
/// What is looked at after the fault at most.
const MOST: Duration = Duration::from_secs(10);
/// How long all has to be well for the trial to end, and for the nodes to be joined again.
const WELL: Duration = Duration::from_millis(500);
/// The same where a node has the VIP that shouldn't: it is given time to notice.
const TWO: Duration = Duration::from_secs(3);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// How many clients there are.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Connections that stay.
    pub staying: usize,
    /// From an echo to the next message of the same connection.
    pub pause: Duration,
    /// From one newcomer to the next.
    pub newcomers: Duration,
}

impl Crowd {
    fn plan(self, service: SocketAddr, staying: usize) -> Plan {
        Plan {
            service,
            addresses: client_addresses(),
            staying,
            pause: self.pause,
            newcomers: self.newcomers,
        }
    }
}

/// Does it. Everything that it started has ended when it returns. An error means that
/// there was nothing to measure, and comes with what helps to find out why.
pub fn run(bed: &Bed, contender: &dyn Contender, fault: Fault, crowd: Crowd) -> Result<Outcome> {
    let way = contender.way();
    bed.reset(way)?;
    let _servers = bed.serve(way)?;
    let nodes = [
        contender.node(bed, Side::First)?,
        contender.node(bed, Side::Second)?,
    ];
    let clock = Clock::start();
    let mut trial = Trial {
        bed,
        nodes,
        fault,
        clock,
        arp: Arp::start(bed, clock)?,
        syns: syn::start(bed, SERVICE, clock)?,
        bypass: syn::start(bed, BYPASS, clock)?,
        datagrams: (way.carries_datagrams().then(|| flow::start(bed, clock))).transpose()?,
    };
    let record = trial.record(crowd);
    let record = record.map_err(|error| {
        let [first, second] = trial.nodes.each_ref().map(|node| node.describe());
        anyhow!("{error:#}\n── lb1\n{first}\n── lb2\n{second}")
    })?;
    let outcome = Outcome::of(&record);
    ensure!(
        outcome.broken_before == 0,
        "{} connections broke before the fault",
        outcome.broken_before
    );
    Ok(outcome)
}

struct Trial<'a> {
    bed: &'a Bed,
    nodes: [Box<dyn Running + 'a>; 2],
    fault: Fault,
    clock: Clock,
    arp: Arp,
    syns: Probing,
    bypass: Probing,
    datagrams: Option<Probing>,
}

impl Trial<'_> {
    fn record(&mut self, crowd: Crowd) -> Result<Record> {
        self.open()?;
        let staying = match self.fault {
            // There is nothing to connect to.
            Fault::ColdStart => 0,
            _ => crowd.staying,
        };
        let plan = crowd.plan(service(), staying);
        let load = Load::start(&self.bed.client, plan, self.clock)?;
        let connected = |all: &[Connection]| {
            let talking = all.iter().filter(|one| one.stays && !one.heard.is_empty());
            talking.count() == staying
        };
        eventually(READY, "all clients are connected", || {
            Ok(load.look(connected).then_some(()))
        })?;
        eventually(READY, "the way past the pair is open", || {
            Ok(self.lately(&self.bypass).then_some(()))
        })?;
        let_pass(CALM)?;

        let fault = self.clock.now();
        self.apply()?;
        if self.fault == Fault::Split {
            self.settle(&load, crowd, [true; 2])?;
            self.bed.join()?;
        }
        let mut holders = [false; 2];
        holders[self.heir() as usize] = true;
        self.settle(&load, crowd, holders)?;
        Ok(Record {
            fault,
            end: self.clock.now(),
            heir: self.heir(),
            asked: self.arp.asked(),
            syns: self.syns.probes(),
            bypass: self.bypass.probes(),
            datagrams: self.datagrams.as_ref().map(Probing::probes),
            connections: load.finish()?,
        })
    }

    /// Starts what is to run before the fault.
    fn open(&mut self) -> Result<()> {
        match self.fault {
            Fault::ColdStart => Ok(()),
            Fault::Return => self.start_alone(Side::Second),
            _ => {
                self.start_alone(Side::First)?;
                self.node(Side::Second).start()?;
                self.ready(Side::Second, false)
            }
        }
    }

    fn start_alone(&mut self, side: Side) -> Result<()> {
        self.node(side).start()?;
        self.ready(side, true)
    }

    /// Waits until the node is ready, and answers for the VIP if it is to be active.
    fn ready(&mut self, side: Side, active: bool) -> Result<()> {
        let what = format!("{} is ready", side.name());
        eventually(READY, &what, || {
            let ready = self.node(side).is_ready(active)?;
            let holds = self.arp.holders()[side as usize];
            Ok((ready && holds == active && self.serves()).then_some(()))
        })
    }

    fn apply(&mut self) -> Result<()> {
        let (bed, fault) = (self.bed, self.fault);
        let first = self.node(Side::First);
        match fault {
            Fault::Kill => first.kill(),
            Fault::Stall => first.stall(),
            Fault::LinkDown => bed.link_down(Side::First),
            Fault::Gone => bed.cut_off(Side::First),
            Fault::Stop => first.stop(),
            Fault::HandOver => first.hand_over(),
            Fault::ColdStart => {
                first.start()?;
                self.node(Side::Second).start()
            }
            Fault::Split => bed.part(),
            Fault::Return => first.start(),
        }
        .with_context(|| format!("the fault {fault}"))
    }

    /// Who has the VIP when all is over.
    fn heir(&self) -> Side {
        match self.fault {
            Fault::ColdStart | Fault::Split | Fault::Return => Side::First,
            _ => Side::Second,
        }
    }

    /// Waits until all is well again and has been for a while, or until that takes too long:
    /// what it took is in the records. `holders` are those who are to have the VIP.
    fn settle(&self, load: &Load, crowd: Crowd, holders: [bool; 2]) -> Result<()> {
        let begin = self.clock.now();
        let mut well_since = None;
        loop {
            let now = self.clock.now();
            let held = self.arp.holders();
            let is_held = (0..2).all(|side| held[side] || !holders[side]);
            let serves = is_held && self.serves();
            if !serves || !load.look(|all| decided(all, now, crowd.pause)) {
                well_since = None;
            } else {
                let since = *well_since.get_or_insert(now);
                let needed = if held == holders { WELL } else { TWO };
                if now - since >= needed && now - begin >= LEAST {
                    return Ok(());
                }
            }
            if now - begin >= MOST {
                return Ok(());
            }
            let_pass(LOOK)?;
        }
    }

    /// Whether the service has accepted a connection lately.
    fn serves(&self) -> bool {
        self.lately(&self.syns)
    }

    /// Whether probes have been answered lately.
    fn lately(&self, probing: &Probing) -> bool {
        let last = probing.last_answer();
        last.is_some_and(|at| self.clock.now() - at < WELL)
    }

    fn node(&mut self, side: Side) -> &mut dyn Running {
        &mut *self.nodes[side as usize]
    }
}

/// Whether each connection that stays has ended, or talks.
fn decided(all: &[Connection], now: Duration, pause: Duration) -> bool {
    let mut staying = all.iter().filter(|one| one.stays);
    staying.all(|one| {
        let last = one.heard.last();
        one.end != End::Open || last.is_some_and(|at| now.saturating_sub(*at) < pause * 4)
    })
}
