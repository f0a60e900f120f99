//! The standby's side, told everything by a peer that may be anybody.

use fastrand::Rng;
use flowgate::replicate::{
    Action, Discard, Limits, Receiver,
    seal::{Kind, Sealer, Session},
    wire::{Terms, greeting},
};

use super::{
    Outcomes, Wrong,
    bend::bend,
    link::{
        Clock, Memory, OURS, TIMEOUTS, body, check_to_standby, counted, first_edition, forgery,
        is_event, key, roster, terms, to_standby,
    },
};

/// A receiver, and its peer's part.
pub struct Follower {
    receiver: Receiver,
    memory: Memory,
    clock: Clock,
    sealer: Option<Sealer>,
    recorded: Vec<Vec<u8>>,
    /// Sealed, and not arrived yet.
    held: Vec<Vec<u8>>,
}

impl Follower {
    /// Without a session.
    pub fn new() -> Self {
        let roster = roster(OURS);
        let limits = Limits::default();
        Follower {
            receiver: Receiver::new(key(), terms(), TIMEOUTS, limits, roster, None, &[1; 32]),
            memory: Memory::new(),
            clock: Clock(1_000),
            sealer: None,
            recorded: Vec::new(),
            held: Vec::new(),
        }
    }

    /// One message, and some time.
    pub fn step(&mut self, random: &mut Rng, outcomes: &mut Outcomes) -> Result<(), Wrong> {
        self.clock.0 += random.u64(..3);
        let mut sealer = match self.sealer.take() {
            Some(sealer) => sealer,
            None => self.connect(random, outcomes)?,
        };
        let number = sealer.next();
        match random.u8(..16) {
            0..8 => {
                let body = body(random, |random| to_standby(random, number));
                let datagram = sealer.seal(&body);
                match random.u8(..32) {
                    0 => self.held.push(datagram),
                    _ => self.authentic(&datagram, Some(&body), outcomes)?,
                }
            }
            8 if !self.held.is_empty() => {
                let datagram = self.held.swap_remove(random.usize(..self.held.len()));
                self.authentic(&datagram, None, outcomes)?;
            }
            _ => self.forged(&forgery(random, &self.recorded), outcomes)?,
        }
        let mut out = Vec::new();
        self.receiver.poll(self.clock.now(), &mut out);
        if self.receiver.status(self.clock.now()).is_connected {
            self.sealer = Some(sealer);
        }
        match self.memory.stranger() {
            Some(stranger) => Err(Wrong::new(&[], format!("in a table: {stranger}"))),
            None => Ok(()),
        }
    }

    fn deliver(&mut self, datagram: &[u8]) -> Vec<Action> {
        let (mut out, now) = (Vec::new(), self.clock.now());
        self.receiver
            .datagram(datagram, now, &self.memory.tables(), &mut out);
        out
    }

    /// Begins a session, after some attempts that go wrong.
    fn connect(&mut self, random: &mut Rng, outcomes: &mut Outcomes) -> Result<Sealer, Wrong> {
        self.held.clear();
        self.clock.0 += 200;
        let mut out = Vec::new();
        self.receiver.poll(self.clock.now(), &mut out);
        let Some(Action::Send(hello)) = out.pop() else {
            return Err(Wrong::new(&[], "a standby without a session doesn't call"));
        };
        let (mut standby, mut active) = (Session::default(), Session::default());
        standby.copy_from_slice(&hello[4..20]);
        random.fill(&mut active);
        let mut sealer = Sealer::greeting(&key(), Kind::Welcome, &active);
        let good = greeting(&standby, &terms());
        let mut bad = good.clone();
        bend(random, &mut bad);
        bad.truncate(1_000);
        let other = Terms {
            pool: random.u64(4..),
            ..terms()
        };
        for body in [
            greeting(&standby, &other),
            greeting(&active, &terms()),
            bad,
            good,
        ] {
            if self.receiver.status(self.clock.now()).is_connected {
                break;
            }
            let datagram = sealer.seal(&body);
            let before = *self.receiver.counts();
            self.deliver(&datagram);
            let (label, _) = counted(&before, self.receiver.counts());
            *outcomes.entry(label.unwrap_or("taken")).or_default() += 1;
            self.recorded.push(datagram);
        }
        if !self.receiver.status(self.clock.now()).is_connected {
            return Err(Wrong::new(&hello, "the right answer begins no session"));
        }
        let mut sealer = Sealer::data(&key(), Kind::ToStandby, &standby, &active);
        let datagram = sealer.seal(&first_edition());
        self.deliver(&datagram);
        Ok(sealer)
    }

    /// What the peer sealed: taken whole, or not at all. `fresh` is what was sealed, where nothing that was sealed later has arrived.
    fn authentic(
        &mut self,
        datagram: &[u8],
        fresh: Option<&[u8]>,
        outcomes: &mut Outcomes,
    ) -> Result<(), Wrong> {
        let (before, content) = (*self.receiver.counts(), self.memory.content());
        let out = self.deliver(datagram);
        self.recorded.push(datagram.to_vec());
        let (label, _) = counted(&before, self.receiver.counts());
        *outcomes.entry(label.unwrap_or("taken")).or_default() += 1;
        let whole = [None, Some(Discard::UnknownBackend.label())];
        let is_taken = whole.contains(&label);
        if !is_taken && (content != self.memory.content() || out.iter().any(is_event)) {
            return Err(Wrong::new(
                datagram,
                "counted as not taken, and did something",
            ));
        }
        let Some(body) = fresh else {
            return Ok(());
        };
        let message = check_to_standby(body)?;
        let is_right = match message {
            None => label == Some("malformed"),
            // What its meaning can be refused for, not its seal.
            Some(_) => !matches!(
                label,
                Some("unauthentic" | "replayed" | "too_old" | "other_session" | "unexpected")
            ),
        };
        match is_right {
            true => Ok(()),
            false => Err(Wrong::new(body, format!("sealed: {label:?}"))),
        }
    }

    /// What nobody sealed for now.
    fn forged(&mut self, datagram: &[u8], outcomes: &mut Outcomes) -> Result<(), Wrong> {
        let now = self.clock.now();
        let (before, content) = (*self.receiver.counts(), self.memory.content());
        let status = self.receiver.status(now);
        let out = self.deliver(datagram);
        let (label, more) = counted(&before, self.receiver.counts());
        *outcomes.entry(label.unwrap_or("taken")).or_default() += 1;
        let is_quiet = out
            .iter()
            .all(|action| matches!(action, Action::Refused(_)));
        let is_same = content == self.memory.content() && status == self.receiver.status(now);
        match is_quiet && is_same && more == 1 {
            true => Ok(()),
            false => Err(Wrong::new(
                datagram,
                format!("forged: {more} {label:?}, {out:?}"),
            )),
        }
    }
}
