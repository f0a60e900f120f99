//! A simulated network of machines, with a kernel's deadline beside each of them.
//!
//! Time is global; each node's clock has an offset of its own. A node that is stopped keeps what
//! arrives and carries out the rest of its actions when it goes on; its deadline stays.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    net::{IpAddr, Ipv4Addr},
};

use super::{Action, Event, Heard, Machine, Nanos, Reason, Settings, State, lease};

pub const MS: Nanos = 1_000_000;
/// The longest a packet takes.
pub const DELAY: Nanos = 2 * MS;
/// The latest a timer is.
pub const JITTER: Nanos = MS;

/// Random numbers from a seed (xorshift64*).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % limit.max(1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    Runs,
    /// SIGSTOP, once so many more actions have been carried out.
    Stops(usize),
    Stopped,
    /// For good.
    Crashed,
}

/// From when until when.
pub type Stretch = (Nanos, Nanos);

/// An advertisement on its way: when it arrives, its serial number, from which node to which,
/// and its priority.
type Flying = (Nanos, u64, usize, usize, u8);

#[derive(Debug)]
pub struct Node {
    pub machine: Machine,
    pub settings: Settings,
    pub run: Run,
    /// Until when it holds the VIPs, by the global clock; 0: not at all.
    pub held: Nanos,
    pub became: Vec<(Nanos, State, Reason)>,
    /// When it last had the network take an advertisement.
    pub sent: Nanos,
    pub announced: Vec<Nanos>,
    offset: Nanos,
    timer: Option<Nanos>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
pub struct World {
    pub now: Nanos,
    pub nodes: Vec<Node>,
    /// `cut[from][to]`: nothing passes.
    pub cut: Vec<Vec<bool>>,
    /// Of 100 packets so many are lost.
    pub loss: u64,
    /// Packets between two nodes may overtake each other.
    pub reorder: bool,
    /// Nodes whose sockets refuse.
    pub mute: Vec<bool>,
    /// Stretches in which two nodes both held the VIPs, for each pair of nodes.
    pub both: Vec<([usize; 2], Vec<Stretch>)>,
    /// Stretches in which nobody did.
    pub nobody: Vec<Stretch>,
    random: Random,
    packets: BinaryHeap<Reverse<Flying>>,
    last_delivery: Vec<Vec<Nanos>>,
    serial: u64,
}

impl World {
    pub fn new(seed: u64, settings: impl IntoIterator<Item = Settings>) -> Self {
        let mut random = Random(seed | 1);
        let nodes: Vec<Node> = settings
            .into_iter()
            .map(|settings| Node {
                machine: Machine::new(settings.clone()),
                settings,
                run: Run::Runs,
                held: 0,
                became: Vec::new(),
                sent: 0,
                announced: Vec::new(),
                offset: random.below(1 << 40),
                timer: None,
                actions: VecDeque::new(),
                events: VecDeque::new(),
            })
            .collect();
        let count = nodes.len();
        let pairs = (0..count).flat_map(|b| (0..b).map(move |a| [a, b]));
        Self {
            now: MS,
            nodes,
            cut: vec![vec![false; count]; count],
            loss: 0,
            reorder: false,
            mute: vec![false; count],
            both: pairs.map(|pair| (pair, Vec::new())).collect(),
            nobody: Vec::new(),
            random,
            packets: BinaryHeap::new(),
            last_delivery: vec![vec![0; count]; count],
            serial: 0,
        }
    }

    /// The address of a node: the higher its number, the higher.
    pub fn address(node: usize) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, 1 + u8::try_from(node).unwrap()).into()
    }

    /// Hands an event to a node, or keeps it for when it goes on.
    pub fn give(&mut self, node: usize, event: Event) {
        self.nodes[node].events.push_back(event);
        self.work(node);
    }

    /// Does all that a node has to do now: first the rest of its actions.
    fn work(&mut self, node: usize) {
        for round in 0.. {
            assert!(round < 10_000, "node {node} goes round in circles");
            match self.nodes[node].run {
                Run::Stopped | Run::Crashed => return,
                Run::Stops(0) => {
                    self.nodes[node].run = Run::Stopped;
                    return;
                }
                Run::Runs | Run::Stops(_) => {}
            }
            if let Some(action) = self.nodes[node].actions.pop_front() {
                if let Run::Stops(left) = &mut self.nodes[node].run {
                    *left -= 1;
                }
                self.carry_out(node, action);
                continue;
            }
            let now = self.now;
            let this = &mut self.nodes[node];
            let event = match this.events.pop_front() {
                Some(event) => event,
                // After what was received.
                None if this.timer.is_some_and(|at| at <= now) => {
                    this.timer = None;
                    Event::Timer
                }
                None => return,
            };
            let actions = this.machine.on(event, now + this.offset);
            this.actions.extend(actions);
        }
    }

    fn carry_out(&mut self, node: usize, action: Action) {
        let now = self.now;
        let this = &mut self.nodes[node];
        match action {
            Action::Send { .. } if self.mute[node] => this.events.push_front(Event::SendFailed),
            Action::Send { priority } => {
                if priority > 0 {
                    this.sent = now;
                }
                this.events.push_front(Event::Sent);
                self.send(node, priority);
            }
            Action::Become(state, reason) => this.became.push((now, state, reason)),
            Action::Announce if this.held > now => this.announced.push(now),
            Action::Announce => {}
            Action::HoldUntil(until) => {
                this.held = until - this.offset;
                let longest = this.sent + lease(this.settings.interval);
                assert!(
                    this.held <= longest,
                    "held for longer than a lease from the last advertisement"
                );
            }
            Action::Release => this.held = 0,
            Action::SetTimer(at) => {
                let late = self.random.below(JITTER);
                this.timer = at.map(|at| at - this.offset + late);
            }
            Action::Clash(..) => {}
        }
    }

    fn send(&mut self, from: usize, priority: u8) {
        for to in 0..self.nodes.len() {
            let lost = self.random.below(100) < self.loss;
            if to == from || self.cut[from][to] || lost {
                continue;
            }
            let mut at = self.now + 50_000 + self.random.below(DELAY - 50_000);
            if !self.reorder {
                at = at.max(self.last_delivery[from][to]);
                self.last_delivery[from][to] = at;
            }
            self.serial += 1;
            self.packets
                .push(Reverse((at, self.serial, from, to, priority)));
        }
    }

    /// Lets time pass until `until`; `check` is called after each step.
    pub fn run(&mut self, until: Nanos, mut check: impl FnMut(&World)) {
        loop {
            let timers = self
                .nodes
                .iter()
                .filter(|node| matches!(node.run, Run::Runs | Run::Stops(_)));
            let timer = timers.filter_map(|node| node.timer).min();
            let packet = self.packets.peek().map(|&Reverse((at, ..))| at);
            let next = [timer, packet]
                .into_iter()
                .flatten()
                .fold(until, Nanos::min);
            self.pass(next.max(self.now));
            check(self);
            if self.now >= until && next >= until {
                return;
            }
            while let Some(&Reverse((at, _, from, to, priority))) = self.packets.peek()
                && at <= self.now
            {
                self.packets.pop();
                let interval = self.nodes[from].settings.interval;
                let heard = Heard {
                    from: Self::address(from),
                    priority,
                    interval,
                    same_addresses: true,
                };
                if self.nodes[to].run != Run::Crashed {
                    self.give(to, Event::Advert(heard));
                }
            }
            for node in 0..self.nodes.len() {
                self.work(node);
            }
        }
    }

    /// Moves the clock, in which time nothing happens but that deadlines pass.
    fn pass(&mut self, to: Nanos) {
        let end = |node: &Node| node.held.clamp(self.now, to);
        for ([a, b], both) in &mut self.both {
            extend(
                both,
                self.now,
                end(&self.nodes[*a]).min(end(&self.nodes[*b])),
            );
        }
        let last = self.nodes.iter().map(end).max().unwrap_or(self.now);
        extend(&mut self.nobody, last, to);
        self.now = to;
    }

    pub fn go_on(&mut self, node: usize) {
        if self.nodes[node].run != Run::Crashed {
            self.nodes[node].run = Run::Runs;
            self.work(node);
        }
    }

    /// The nodes that hold the VIPs now.
    pub fn holders(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&node| self.nodes[node].held > self.now)
            .collect()
    }

    /// How long two nodes both held the VIPs at most in one go, and all together, since `from`.
    pub fn both_since(&self, from: Nanos) -> (Nanos, Nanos) {
        let stretches = self.both.iter().flat_map(|(_, both)| both);
        let long = stretches.map(|&(a, b)| b.saturating_sub(a.max(from)));
        long.fold((0, 0), |(most, sum), long| (most.max(long), sum + long))
    }

    /// How many times a node has become active.
    pub fn take_overs(&self) -> usize {
        let became = self.nodes.iter().flat_map(|node| &node.became);
        became
            .filter(|(_, state, reason)| {
                *state == State::Active && *reason != Reason::NobodyTookOver
            })
            .count()
    }
}

/// Adds a stretch to those before; one that follows the last without a gap goes on with it.
fn extend(stretches: &mut Vec<Stretch>, from: Nanos, to: Nanos) {
    if from >= to {
        return;
    }
    match stretches.last_mut() {
        Some(last) if last.1 == from => last.1 = to,
        _ => stretches.push((from, to)),
    }
}
