//! The active node's side.

use lb_common::flow::Timeouts;

use super::{
    Action, ClusterKey, Counts, Discard, Ending, MILLISECOND, Now, Refusal, Refusals, Roster,
    Tables, Which,
    feed::{Feed, Way},
    greet::hear,
    rate::Rate,
    seal::{Draw, Kind, Opener, Sealer, Session},
    wire::{Terms, ToActive, ToStandby, greeting},
};

/// How much, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of UDP payload a millisecond, all that is sent to the peer together; 12,500 are 100 Mbit/s.
    pub bytes_per_ms: u32,
    /// Slots that one call of [`Sender::poll`] compares: bounds how long it takes.
    pub slots_per_poll: usize,
    /// Nanoseconds from the start of one comparison of the tables to the next.
    pub pass_every: u64,
    /// Nanoseconds after which a datagram that isn't acknowledged is given up, where the peer is near.
    pub resend_after: u64,
    /// Nanoseconds between marks, and between acknowledgements when there is nothing to acknowledge.
    pub beat: u64,
    /// Nanoseconds without a datagram from the peer after which the session ends.
    pub silence: u64,
    /// Nanoseconds from one greeting of the standby's to the next.
    pub greet_every: u64,
    /// The standby is in sync while what it lacks is younger than so many nanoseconds.
    pub sync_within: u64,
}

impl Limits {
    /// Nanoseconds of a pass for each slot: so comparing takes a twentieth of a CPU in tables of the default size,
    const PASS_PER_SLOT: u64 = 28;
    /// between these bounds, for a change is to arrive within 100 ms,
    const PASS: (u64, u64) = (40 * MILLISECOND, 60 * MILLISECOND);
    /// unless comparing would take more than a quarter of a CPU.
    const LEAST_PER_SLOT: u64 = 6;

    /// The limits for tables of so many slots, both together: each slot is compared every 40 ms up to 1.4 M of them,
    /// every 60 ms from 2 M to 10 M, and more seldom in larger tables: every 101 ms for 16 M, 403 ms for 64 M.
    #[must_use]
    pub fn sized(slots: usize) -> Self {
        let pass_every = (slots as u64 * Self::PASS_PER_SLOT)
            .clamp(Self::PASS.0, Self::PASS.1)
            .max(slots as u64 * Self::LEAST_PER_SLOT);
        // A third of the time, and the thread sleeps the rest.
        let polls = pass_every / MILLISECOND / 3;
        Limits {
            bytes_per_ms: 12_500,
            slots_per_poll: (slots / polls as usize).max(1 << 14),
            pass_every,
            resend_after: 20 * MILLISECOND,
            beat: 20 * MILLISECOND,
            silence: 500 * MILLISECOND,
            greet_every: 100 * MILLISECOND,
            sync_within: 300 * MILLISECOND + 4 * pass_every,
        }
    }
}

/// How long the standby hears of everything as soon as can be, when it may take over any moment.
const EAGER: u64 = 300 * MILLISECOND;

/// For the tables that are made if nothing else is asked for.
impl Default for Limits {
    fn default() -> Self {
        Limits::sized(1 << 21)
    }
}

/// Sends the flow table to one standby. Call [`Sender::poll`] every millisecond or so.
#[derive(Debug)]
pub struct Sender {
    key: ClusterKey,
    terms: Terms,
    timeouts: Timeouts,
    limits: Limits,
    roster: Roster,
    draw: Draw,
    rate: Rate,
    counts: Counts,
    refusals: Refusals,
    candidate: Option<Candidate>,
    live: Option<Live>,
    /// Slots told in sessions that have ended.
    sent: u64,
}

/// A standby that has been greeted, and has to prove that it got the number drawn for it.
#[derive(Debug)]
struct Candidate {
    standby: Session,
    welcome: Sealer,
    to_standby: Sealer,
    from_standby: Opener,
    since: u64,
}

#[derive(Debug)]
struct Live {
    standby: Session,
    to_standby: Sealer,
    from_standby: Opener,
    feed: Feed,
    heard: u64,
    beat: u64,
    in_sync: bool,
}

/// What there is to know of the session with the standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Active {
    /// There is one.
    pub is_connected: bool,
    /// The standby has everything but the latest changes.
    pub in_sync: bool,
    /// Nanoseconds since the moment up to which it has everything.
    pub lag: Option<u64>,
    /// Slots told in all sessions, those that were told again included.
    pub sent: u64,
}

impl Sender {
    /// A sender without a peer yet. `seed` is freshly drawn from the system's randomness for each sender: on it rests
    /// that no key is used twice.
    #[must_use]
    pub fn new(
        key: ClusterKey,
        terms: Terms,
        timeouts: Timeouts,
        limits: Limits,
        roster: Roster,
        seed: &[u8; 32],
    ) -> Self {
        Sender {
            key,
            terms,
            timeouts,
            limits,
            roster,
            draw: Draw::new(seed),
            rate: Rate::new(limits.bytes_per_ms),
            counts: Counts::default(),
            refusals: Refusals::default(),
            candidate: None,
            live: None,
            sent: 0,
        }
    }

    /// What was not taken.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How the session stands.
    #[must_use]
    pub fn status(&self, now: Now) -> Active {
        let synced = self.live.as_ref().and_then(|live| live.feed.synced());
        Active {
            is_connected: self.live.is_some(),
            in_sync: self.live.as_ref().is_some_and(|live| live.in_sync),
            lag: synced.map(|at| now.ns.saturating_sub(at)),
            sent: self.sent + self.live.as_ref().map_or(0, |live| live.feed.told()),
        }
    }

    /// Numbers mean something else from now on. To be told before the tables hold entries with new numbers.
    pub fn set_roster(&mut self, roster: Roster) {
        self.roster = roster;
    }

    /// The standby takes over soon, and is told of all changes as they come until then.
    pub fn hurry(&mut self, now: Now) {
        if let Some(live) = &mut self.live {
            live.feed.hurry(now.ns + EAGER);
        }
    }

    /// The session ends in order: this node is active no longer.
    pub fn stop(&mut self, out: &mut Vec<Action>) {
        if let Some(mut live) = self.live.take() {
            self.sent += live.feed.told();
            out.push(Action::Send(live.to_standby.seal(&ToStandby::bye())));
        }
        self.candidate = None;
    }

    /// Takes a datagram from the peer's address.
    pub fn datagram(
        &mut self,
        datagram: &[u8],
        now: Now,
        tables: &Tables<'_>,
        out: &mut Vec<Action>,
    ) {
        self.rate.refill(now.ns);
        let taken = match Kind::of(datagram) {
            Ok(Kind::Hello) => self.hello(datagram, now, out),
            Ok(Kind::ToActive) => self.data(datagram, now, tables, out),
            Ok(Kind::Welcome | Kind::ToStandby) => Err(Discard::Unexpected),
            Err(why) => Err(why),
        };
        if let Err(why) = taken {
            self.counts.add(why);
        }
    }

    fn hello(&mut self, datagram: &[u8], now: Now, out: &mut Vec<Action>) -> Result<(), Discard> {
        let hello = match hear(&self.key, Kind::Hello, datagram) {
            Ok(hello) => hello,
            Err(unheard) => {
                if let Some(refusal) = unheard.refusal {
                    self.refuse(refusal, &unheard.session, now, out);
                }
                return Err(unheard.why);
            }
        };
        if let Some(difference) = self.terms.difference(&hello.terms) {
            let refusal = Refusal::Configuration(difference);
            self.refuse(refusal, &hello.session, now, out);
            return Err(Discard::Configuration);
        }
        if self
            .live
            .as_ref()
            .is_some_and(|live| live.standby == hello.session)
        {
            return Err(Discard::Replayed);
        }
        self.welcome(hello.session, now, out)
    }

    /// Tells it, and answers with a number that no session will have, so that the peer can name the
    /// reason too: with another key the answer doesn't authenticate there either.
    fn refuse(&mut self, why: Refusal, echo: &Session, now: Now, out: &mut Vec<Action>) {
        if !self.refusals.tell(why, now, out) {
            return;
        }
        let mut sealer = Sealer::greeting(&self.key, Kind::Welcome, &self.draw.next());
        let welcome = sealer.seal(&greeting(echo, &self.terms));
        if self.rate.take(welcome.len()) {
            out.push(Action::Send(welcome));
        }
    }

    fn welcome(
        &mut self,
        standby: Session,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Discard> {
        match &self.candidate {
            Some(known) if known.standby == standby => {}
            // Somebody who repeats old greetings must not push out one who is about to prove itself.
            Some(known) if now.ns < known.since + self.limits.greet_every / 4 => {
                return Err(Discard::Unexpected);
            }
            _ => {
                let active = self.draw.next();
                let key = &self.key;
                self.candidate = Some(Candidate {
                    standby,
                    welcome: Sealer::greeting(key, Kind::Welcome, &active),
                    to_standby: Sealer::data(key, Kind::ToStandby, &standby, &active),
                    from_standby: Opener::data(key, Kind::ToActive, &standby, &active),
                    since: now.ns,
                });
            }
        }
        if let Some(candidate) = &mut self.candidate {
            let welcome = candidate.welcome.seal(&greeting(&standby, &self.terms));
            if self.rate.take(welcome.len()) {
                out.push(Action::Send(welcome));
            }
        }
        Ok(())
    }

    fn data(
        &mut self,
        datagram: &[u8],
        now: Now,
        tables: &Tables<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), Discard> {
        let of_live = self
            .live
            .as_mut()
            .map(|live| live.from_standby.open(datagram));
        let opened = match of_live {
            None | Some(Err(Discard::OtherSession)) => self.promote(datagram, now, tables, out),
            Some(opened) => opened,
        };
        let (_, body) = opened?;
        let message = ToActive::read(&body).ok_or(Discard::Malformed)?;
        let Some(live) = &mut self.live else {
            return Ok(());
        };
        live.heard = now.ns;
        match message {
            ToActive::Ack(ack) => live.feed.acknowledged(&ack, now),
            ToActive::Bye => self.end(Ending::Bye, out),
        }
        Ok(())
    }

    /// Data of the candidate's proves that it is there now: its session begins.
    fn promote(
        &mut self,
        datagram: &[u8],
        now: Now,
        tables: &Tables<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(u64, Vec<u8>), Discard> {
        let candidate = self.candidate.as_mut().ok_or(Discard::OtherSession)?;
        let opened = candidate.from_standby.open(datagram)?;
        let Some(candidate) = self.candidate.take() else {
            return Ok(opened);
        };
        self.end(Ending::Anew, out);
        self.live = Some(Live {
            standby: candidate.standby,
            to_standby: candidate.to_standby,
            from_standby: candidate.from_standby,
            feed: Feed::new(self.limits, self.timeouts, self.terms.tick_ns, tables),
            heard: now.ns,
            beat: now.ns,
            in_sync: false,
        });
        out.push(Action::Connected);
        Ok(opened)
    }

    fn end(&mut self, why: Ending, out: &mut Vec<Action>) {
        let Some(live) = self.live.take() else {
            return;
        };
        self.sent += live.feed.told();
        if live.in_sync {
            out.push(Action::InSync(false));
        }
        out.push(Action::Disconnected(why));
    }

    /// When [`Sender::poll`] is to be called next, unless a datagram comes before; `None`: not before one does.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        let live = self.live.as_ref()?;
        let silent = live.heard + self.limits.silence;
        Some(live.feed.due().min(live.beat).min(silent))
    }

    /// Compares, and sends what is due. `tables` are the same at each call.
    pub fn poll(&mut self, now: Now, tables: &Tables<'_>, out: &mut Vec<Action>) {
        self.rate.refill(now.ns);
        let Some(live) = &mut self.live else {
            return;
        };
        if now.ns >= live.heard + self.limits.silence {
            return self.end(Ending::Silence, out);
        }
        if now.ns >= live.beat {
            let mark = live.to_standby.seal(&live.feed.mark(now, live.in_sync));
            if self.rate.take(mark.len()) {
                live.beat = now.ns + self.limits.beat;
                out.push(Action::Send(mark));
            }
        }
        let mut way = Way {
            sealer: &mut live.to_standby,
            rate: &mut self.rate,
            out,
        };
        live.feed.send(now, tables, &self.roster, &mut way);
        let synced = live.feed.synced();
        let in_sync = synced.is_some_and(|at| now.ns < at + self.limits.sync_within);
        if in_sync != live.in_sync {
            live.in_sync = in_sync;
            // The standby hears of it at once, and may take over then.
            live.beat = now.ns;
            if in_sync {
                live.feed.hurry(now.ns + EAGER);
            }
            out.push(Action::InSync(in_sync));
        }
    }

    /// Bytes of memory that a session takes at most for these tables: a copy of all entries.
    #[must_use]
    pub fn memory(tables: &Tables<'_>) -> usize {
        let slots: usize = Which::ALL
            .iter()
            .map(|table| tables.of(*table).slots())
            .sum();
        slots * 8 + slots / 8
    }
}
