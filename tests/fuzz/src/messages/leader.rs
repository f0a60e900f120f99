//! The active node's side, answered by a peer that may be anybody.

use fastrand::Rng;
use flowgate::replicate::{
    Action, Limits, Sender,
    seal::{Kind, MOST, Opener, Sealer, Session},
    wire::{Terms, ToActive, greeting},
};

use super::{
    Outcomes, Wrong,
    bend::bend,
    link::{
        Clock, Memory, TIMEOUTS, body, check_to_standby, counted, forgery, is_event, key, roster,
        terms, to_active,
    },
};

/// A sender, and its peer's part.
pub struct Leader {
    sender: Sender,
    memory: Memory,
    clock: Clock,
    peer: Option<Peer>,
    recorded: Vec<Vec<u8>>,
}

struct Peer {
    sealer: Sealer,
    opener: Opener,
    /// The highest number received.
    highest: u64,
}

impl Leader {
    /// Without a session.
    pub fn new() -> Self {
        Leader {
            sender: Sender::new(
                key(),
                terms(),
                TIMEOUTS,
                Limits::default(),
                roster(0),
                &[2; 32],
            ),
            memory: Memory::new(),
            clock: Clock(1_000),
            peer: None,
            recorded: Vec::new(),
        }
    }

    /// One message, and some time.
    pub fn step(&mut self, random: &mut Rng, outcomes: &mut Outcomes) -> Result<(), Wrong> {
        self.clock.0 += random.u64(..3);
        let mut peer = match self.peer.take() {
            Some(peer) => peer,
            None => self.connect(random, outcomes)?,
        };
        match random.u8(..4) {
            0 | 1 => {
                let body = body(random, |random| to_active(random, peer.highest));
                let datagram = peer.sealer.seal(&body);
                self.authentic(&datagram, &body, outcomes)?;
            }
            2 => self.forged(&forgery(random, &self.recorded), outcomes)?,
            _ => self.memory.change(random),
        }
        let mut out = Vec::new();
        self.sender
            .poll(self.clock.now(), &self.memory.tables(), &mut out);
        for action in out {
            if let Action::Send(datagram) = action {
                peer.take(&datagram)?;
            }
        }
        if self.sender.status(self.clock.now()).is_connected {
            self.peer = Some(peer);
        }
        Ok(())
    }

    fn deliver(&mut self, datagram: &[u8]) -> Vec<Action> {
        let (mut out, now) = (Vec::new(), self.clock.now());
        self.sender
            .datagram(datagram, now, &self.memory.tables(), &mut out);
        out
    }

    /// Begins a session, after some attempts that go wrong.
    fn connect(&mut self, random: &mut Rng, outcomes: &mut Outcomes) -> Result<Peer, Wrong> {
        let mut standby = Session::default();
        random.fill(&mut standby);
        let mut sealer = Sealer::greeting(&key(), Kind::Hello, &standby);
        let mut bad = greeting(&Session::default(), &terms());
        bend(random, &mut bad);
        bad.truncate(1_000);
        let other = Terms {
            pool: random.u64(4..),
            ..terms()
        };
        let bodies = [
            greeting(&standby, &other),
            bad,
            greeting(&standby, &terms()),
        ];
        for body in bodies {
            // The sender answers only so often.
            self.clock.0 += 100;
            let (datagram, before) = (sealer.seal(&body), *self.sender.counts());
            let out = self.deliver(&datagram);
            self.recorded.push(datagram.clone());
            let (label, _) = counted(&before, self.sender.counts());
            *outcomes.entry(label.unwrap_or("taken")).or_default() += 1;
            let Some(Action::Send(welcome)) = out.last() else {
                continue;
            };
            if label.is_some() || welcome.len() > datagram.len() {
                continue;
            }
            let mut active = Session::default();
            active.copy_from_slice(&welcome[4..20]);
            let mut peer = Peer {
                sealer: Sealer::data(&key(), Kind::ToActive, &standby, &active),
                opener: Opener::data(&key(), Kind::ToStandby, &standby, &active),
                highest: 0,
            };
            let datagram = peer.sealer.seal(&to_active(random, 0));
            let out = self.deliver(&datagram);
            if out.contains(&Action::Connected) {
                return Ok(peer);
            }
        }
        Err(Wrong::new(&standby, "the right greeting begins no session"))
    }

    fn authentic(
        &mut self,
        datagram: &[u8],
        body: &[u8],
        outcomes: &mut Outcomes,
    ) -> Result<(), Wrong> {
        let (before, content) = (*self.sender.counts(), self.memory.content());
        let out = self.deliver(datagram);
        self.recorded.push(datagram.to_vec());
        let (label, more) = counted(&before, self.sender.counts());
        *outcomes.entry(label.unwrap_or("taken")).or_default() += 1;
        let message = ToActive::read(body);
        if let Some(message) = &message
            && message.body() != body
        {
            return Err(Wrong::new(
                body,
                format!("{message:?} is written in another way"),
            ));
        }
        let ended = out
            .iter()
            .any(|action| matches!(action, Action::Disconnected(_)));
        let is_right = match message {
            None => (label, more) == (Some("malformed"), 1) && out.is_empty(),
            Some(message) => more == 0 && ended == (message == ToActive::Bye),
        };
        match is_right && content == self.memory.content() {
            true => Ok(()),
            false => Err(Wrong::new(
                body,
                format!("sealed: {more} {label:?}, {out:?}"),
            )),
        }
    }

    /// What nobody sealed for now. An old greeting may be answered by as much as it is long.
    fn forged(&mut self, datagram: &[u8], outcomes: &mut Outcomes) -> Result<(), Wrong> {
        let now = self.clock.now();
        let (before, content) = (*self.sender.counts(), self.memory.content());
        let status = self.sender.status(now);
        let out = self.deliver(datagram);
        let (label, more) = counted(&before, self.sender.counts());
        *outcomes.entry(label.unwrap_or("repeated")).or_default() += 1;
        let answered: usize = out
            .iter()
            .map(|action| match action {
                Action::Send(answer) => answer.len(),
                _ => 0,
            })
            .sum();
        // What tells a peer with another key why it isn't heard comes once in ten seconds.
        let is_refused = out
            .iter()
            .any(|action| matches!(action, Action::Refused(_)));
        let is_quiet = !out.iter().any(is_event) && (is_refused || answered <= datagram.len());
        let is_same = content == self.memory.content() && status == self.sender.status(now);
        let is_greeting = more == 0 && datagram.get(3) == Some(&(Kind::Hello as u8));
        match is_quiet && is_same && (more == 1 || is_greeting) {
            true => Ok(()),
            false => Err(Wrong::new(
                datagram,
                format!("forged: {more} {label:?}, {out:?}"),
            )),
        }
    }
}

impl Peer {
    /// What the sender says makes sense.
    fn take(&mut self, datagram: &[u8]) -> Result<(), Wrong> {
        let wrong = |what: String| Wrong::new(datagram, what);
        if datagram.len() > MOST {
            return Err(wrong(format!("{} bytes", datagram.len())));
        }
        if Kind::of(datagram) == Ok(Kind::Welcome) {
            return Ok(());
        }
        let opened = self.opener.open(datagram);
        let (number, body) = opened.map_err(|why| wrong(format!("its own is {why:?}")))?;
        self.highest = self.highest.max(number);
        match check_to_standby(&body)? {
            Some(_) => Ok(()),
            None => Err(Wrong::new(&body, "it makes no sense")),
        }
    }
}
