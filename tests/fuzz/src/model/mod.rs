//! What must become of a packet, written plainly from the specification: one question
//! after the other, nothing shared with the program but the verdicts' names.
//!
//! Where the program may choose, the model says every outcome that it may have, and
//! learns from what it sees.

mod answer;
mod backward;
mod errors;
mod flows;
mod forward;
mod fragments;
mod frames;
pub mod parse;
mod relay;
mod too_big;
mod tunnel;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use lb_common::verdict::{Action, Verdict};

pub use flows::{Flow, Key, Stage};
pub use parse::{Link, link};

use crate::{
    bytes::Mac,
    site::{OWN, Site},
};
use fragments::Remembered;
use parse::{Ip, Refused};

/// What the program made of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Got<'a> {
    /// What it counted.
    pub verdict: Verdict,
    /// What it told the kernel.
    pub way: Way,
    /// The frame afterwards.
    pub frame: &'a [u8],
}

/// An IP packet, and what came out.
struct Seen<'a> {
    frame: &'a [u8],
    link: &'a Link,
    ip: &'a Ip,
    got: &'a Got<'a>,
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the kernel.
    Pass,
    /// Nowhere.
    Drop,
    /// Out by the interface that it came by.
    Transmit,
    /// Out by another one.
    Redirect,
}

/// What may become of a packet.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Where it goes.
    pub way: Way,
    /// The frame; `None` when nobody sees it any more.
    pub frame: Option<Vec<u8>>,
    /// Offsets of checksums in which 0 and all ones are the same number.
    pub zeros: Vec<usize>,
    /// What is remembered.
    pub effects: Vec<Effect>,
}

/// What is remembered of a packet.
#[derive(Debug, Clone)]
pub enum Effect {
    /// A flow's entry.
    Entry(Key, u16, Stage),
    /// A flow's source in the pool.
    Port(Key, (IpAddr, u16)),
    /// The hash named this backend.
    Hash(Key, u16),
    /// Whose turn is next.
    Turn(usize, usize),
    /// Bits that vary with the flow: which, and their values.
    Spread(Key, u32, u32),
    /// Where a packet's later fragments go.
    Fragment(fragments::Id, Remembered),
    /// Somebody was told that a packet is too big.
    Told,
}

impl Outcome {
    fn drop(verdict: Verdict) -> Self {
        Outcome {
            verdict,
            way: Way::Drop,
            frame: None,
            zeros: Vec::new(),
            effects: Vec::new(),
        }
    }

    fn pass(verdict: Verdict, frame: &[u8]) -> Self {
        Outcome {
            way: Way::Pass,
            frame: Some(frame.to_vec()),
            ..Outcome::drop(verdict)
        }
    }

    fn fits(&self, got: &Got<'_>) -> bool {
        self.verdict == got.verdict
            && self.way == got.way
            && self
                .frame
                .as_ref()
                .is_none_or(|frame| self.is_frame(frame, got.frame))
    }

    fn is_frame(&self, expected: &[u8], got: &[u8]) -> bool {
        if expected == got {
            return true;
        }
        let mut expected = expected.to_vec();
        for &at in &self.zeros {
            let zeros = [[0, 0], [0xff, 0xff]];
            if let (Some(ours), Some(theirs)) = (expected.get_mut(at..at + 2), got.get(at..at + 2))
                && zeros.iter().any(|zero| zero == ours)
                && zeros.iter().any(|zero| zero == theirs)
            {
                ours.copy_from_slice(theirs);
            }
        }
        expected == got
    }
}

/// The specification at work.
#[derive(Debug, Clone)]
pub struct Model {
    /// What the load balancer is told.
    pub site: Site,
    /// Whether the pool has no port left for new flows.
    pub no_ports: bool,
    /// The window of the clock in which the packet was judged, first and last moment,
    /// in ns.
    pub moment: (u64, u64),
    flows: HashMap<Key, Flow>,
    /// Who has a source of the pool.
    ports: HashMap<(IpAddr, u16), Key>,
    port_of: HashMap<Key, (IpAddr, u16)>,
    /// Flows that have one which nobody has seen yet.
    portless: HashSet<Key>,
    hash_says: HashMap<Key, Vec<u16>>,
    /// Whose turn is next in a service; `None` when nothing tells.
    turns: HashMap<usize, Option<usize>>,
    spread: HashMap<Key, (u32, u32)>,
    fragments: HashMap<fragments::Id, Remembered>,
    told: too_big::Told,
}

impl Model {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(site: Site) -> Self {
        Model {
            site,
            no_ports: false,
            moment: (0, 0),
            flows: HashMap::new(),
            ports: HashMap::new(),
            port_of: HashMap::new(),
            portless: HashSet::new(),
            hash_says: HashMap::new(),
            turns: HashMap::new(),
            spread: HashMap::new(),
            fragments: HashMap::new(),
            told: too_big::Told::default(),
        }
    }

    /// The tables were emptied. Who was told is still known.
    pub fn forget(&mut self, site: Site) {
        let told = self.told;
        *self = Model::new(site);
        self.told = told;
    }

    /// Nobody has been told anything.
    pub fn forget_told(&mut self) {
        self.told = too_big::Told::default();
    }

    /// A backend's standing has changed, and with it its service's wheel.
    pub fn set_standing(&mut self, number: u16, standing: crate::site::Standing) {
        let Some(service) = self.site.backend(number).map(|backend| backend.service) else {
            return;
        };
        self.site.set_standing(number, standing);
        self.hash_says.retain(|key, _| key.service != service);
    }

    /// Whether what became of a frame is what should; learns from it.
    ///
    /// # Errors
    ///
    /// What should have become of it: all outcomes that it might have had.
    pub fn judge(&mut self, frame: &[u8], got: &Got<'_>) -> Result<(), Vec<Outcome>> {
        let outcomes = self.outcomes(frame, got);
        let fitting: Vec<&Outcome> = outcomes.iter().filter(|o| o.fits(got)).collect();
        if fitting.is_empty() || got.way != way_of(got) {
            return Err(outcomes);
        }
        let fitting: Vec<Vec<Effect>> = fitting.iter().map(|o| o.effects.clone()).collect();
        match self.learn(&fitting) {
            true => Ok(()),
            false => Err(outcomes),
        }
    }

    /// Every outcome that a frame may have. `got` is looked into only where the program
    /// may choose.
    #[must_use]
    pub fn outcomes(&self, frame: &[u8], got: &Got<'_>) -> Vec<Outcome> {
        let Some(link) = link(frame) else {
            return vec![Outcome::pass(Verdict::PassMalformed, frame)];
        };
        let is_group = link.to[0] & 1 == 1;
        let one = |outcome| vec![outcome];
        match link.ether_type {
            frames::IPV4 | frames::IPV6 | ARP => {}
            _ => return one(Outcome::pass(Verdict::PassProtocol, frame)),
        }
        if link.to != OWN && !is_group {
            return one(Outcome::pass(Verdict::PassOtherHost, frame));
        }
        match link.ether_type {
            ARP => one(self.arp(frame, &link)),
            frames::IPV4 if is_group => one(Outcome::pass(Verdict::PassGroup, frame)),
            frames::IPV4 => self.ip(frame, &link, parse::ipv4(frame, link.head), got),
            _ => {
                if answer::is_solicitation(frame, link.head) {
                    return self.solicitation(frame, &link);
                }
                if is_group {
                    return one(Outcome::pass(Verdict::PassGroup, frame));
                }
                self.ip(frame, &link, parse::ipv6(frame, link.head), got)
            }
        }
    }

    fn ip(
        &self,
        frame: &[u8],
        link: &Link,
        parsed: Result<Ip, Refused>,
        got: &Got<'_>,
    ) -> Vec<Outcome> {
        let ip = match &parsed {
            Ok(ip) => ip,
            Err(refused) => return vec![self.refused(frame, refused)],
        };
        let seen = &Seen {
            frame,
            link,
            ip,
            got,
        };
        if ip.is_later() {
            return self.later(seen);
        }
        if !ip.has_ports() {
            return self.icmp(seen);
        }
        let port = ip.destination_port(frame);
        if let Some(service) = self.site.service(ip.destination, port, ip.protocol) {
            return self.forward(seen, service);
        }
        if self.site.is_pool(ip.destination) {
            return self.answer_of_full_nat(seen);
        }
        if self.site.vip(ip.destination).is_some() {
            return vec![Outcome::drop(Verdict::DropClosedPort)];
        }
        self.answer_of_nat(seen)
    }

    fn refused(&self, frame: &[u8], refused: &Refused) -> Outcome {
        match refused.destination {
            None => Outcome::pass(refused.verdict, frame),
            Some(vip) if self.site.vip(vip).is_some() => Outcome::drop(refused.verdict),
            Some(_) => Outcome::pass(Verdict::PassNotVip, frame),
        }
    }

    /// Takes in what all fitting outcomes say. False when it can't be.
    fn learn(&mut self, fitting: &[Vec<Effect>]) -> bool {
        let is_sure = fitting.len() == 1;
        let mut entries: HashMap<Key, Vec<(u16, Stage)>> = HashMap::new();
        for effect in fitting.iter().flatten() {
            match *effect {
                Effect::Entry(key, backend, stage) => {
                    let maybe = entries.entry(key).or_default();
                    if !maybe.contains(&(backend, stage)) {
                        maybe.push((backend, stage));
                    }
                }
                Effect::Port(key, port) => {
                    if !self.take_port(key, port) {
                        return false;
                    }
                }
                Effect::Hash(key, backend) if is_sure => {
                    self.hash_says.insert(key, vec![backend]);
                }
                Effect::Hash(..) => {}
                Effect::Turn(service, next) => {
                    // Whether a turn was taken isn't seen of a packet that goes nowhere.
                    let is_taken = |effects: &Vec<Effect>| {
                        let turn = |e: &Effect| matches!(*e, Effect::Turn(s, n) if (s, n) == (service, next));
                        effects.iter().any(turn)
                    };
                    let next = fitting.iter().all(is_taken).then_some(next);
                    self.turns.insert(service, next);
                }
                Effect::Spread(key, mask, bits) => {
                    let known = self.spread.entry(key).or_default();
                    *known = (known.0 | mask, known.1 | bits);
                }
                Effect::Fragment(id, remembered) => {
                    self.fragments.insert(id, remembered);
                }
                Effect::Told => {}
            }
        }
        if fitting.iter().flatten().any(|e| matches!(e, Effect::Told)) {
            self.told.count(self.moment);
        }
        for (key, maybe) in entries {
            if self.site.services[key.service].full_nat && !self.port_of.contains_key(&key) {
                self.portless.insert(key);
            }
            self.flows.insert(key, maybe);
        }
        true
    }

    /// Gives a source of the pool to a flow. False when it may not have it.
    fn take_port(&mut self, key: Key, port: (IpAddr, u16)) -> bool {
        if let Some(before) = self.ports.get(&port).copied()
            && before != key
        {
            let displaceable = self
                .flows
                .get(&before)
                .is_none_or(|maybe| maybe.iter().any(|(_, stage)| stage.may_be_displaced()));
            if !displaceable {
                return false;
            }
            self.flows.remove(&before);
            self.port_of.remove(&before);
        }
        self.ports.insert(port, key);
        self.port_of.insert(key, port);
        self.portless.remove(&key);
        true
    }

    /// How many flows are known.
    #[must_use]
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }
}

const ARP: u16 = 0x0806;

/// A broadcast's MAC address and the like.
fn is_group(mac: Mac) -> bool {
    mac[0] & 1 == 1
}

/// What the verdict makes the program tell the kernel; transmitting has two ways.
fn way_of(got: &Got<'_>) -> Way {
    match (got.verdict.action(), got.way) {
        (Action::Pass, _) => Way::Pass,
        (Action::Drop, _) => Way::Drop,
        (Action::Transmit, Way::Redirect) => Way::Redirect,
        (Action::Transmit, _) => Way::Transmit,
    }
}
