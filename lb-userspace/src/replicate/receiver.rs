//! The standby's side.

use lb_common::flow::{Tick, Timeouts};

use super::{
    Action, ClusterKey, Counts, Discard, Ending, Limits, Now, Refusal, Refusals, Roster, Tables,
    follow::{Ages, Follow},
    greet::hear,
    seal::{Draw, Kind, Opener, Sealer, Session},
    wire::{Ack, Terms, ToActive, ToStandby, greeting},
};

/// Datagrams that are acknowledged at once, without waiting for [`Receiver::poll`].
const ACK_AFTER: u32 = 32;

/// Follows one active node. Call [`Receiver::poll`] every millisecond or so.
#[derive(Debug)]
pub struct Receiver {
    key: ClusterKey,
    terms: Terms,
    timeouts: Timeouts,
    limits: Limits,
    roster: Roster,
    stepped_down: Option<Tick>,
    draw: Draw,
    counts: Counts,
    refusals: Refusals,
    call: Call,
    live: Option<Live>,
    lag: Option<(u64, u64)>,
    in_sync: bool,
    /// Slots written in sessions that have ended.
    written: u64,
}

/// The greeting that is repeated until it is answered.
#[derive(Debug)]
struct Call {
    session: Session,
    sealer: Sealer,
    due: u64,
}

#[derive(Debug)]
struct Live {
    to_active: Sealer,
    from_active: Opener,
    follow: Follow,
    ack: Ack,
    /// Datagrams taken since the last acknowledgement.
    taken: u32,
    /// When one is sent in any case.
    beat: u64,
    heard: u64,
}

/// What there is to know of the session with the active node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standby {
    /// There is one.
    pub is_connected: bool,
    /// Everything but the latest changes is here.
    pub in_sync: bool,
    /// Nanoseconds since the moment up to which everything is here, if that is known.
    pub lag: Option<u64>,
    /// Slots written in all sessions.
    pub written: u64,
}

impl Receiver {
    /// A receiver that calls its peer. `stepped_down` is the tick in which this node was active last, if it was so
    /// since it started: then what it learnt at the end isn't lost to the peer's table (the rule is in the module `merge`).
    /// `seed` is freshly drawn from the system's randomness for each receiver: on it rests that no key is used twice.
    #[must_use]
    pub fn new(
        key: ClusterKey,
        terms: Terms,
        timeouts: Timeouts,
        limits: Limits,
        roster: Roster,
        stepped_down: Option<Tick>,
        seed: &[u8; 32],
    ) -> Self {
        let mut draw = Draw::new(seed);
        Receiver {
            call: Call::new(&key, &mut draw, 0),
            key,
            terms,
            timeouts,
            limits,
            roster,
            stepped_down,
            draw,
            counts: Counts::default(),
            refusals: Refusals::default(),
            live: None,
            lag: None,
            in_sync: false,
            written: 0,
        }
    }

    /// What was not taken.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How the session stands.
    #[must_use]
    pub fn status(&self, now: Now) -> Standby {
        Standby {
            is_connected: self.live.is_some(),
            in_sync: self.in_sync,
            lag: self.lag.map(|(at, lag)| now.ns.saturating_sub(at) + lag),
            written: self.written + self.live.as_ref().map_or(0, |live| live.follow.written()),
        }
    }

    /// This node's numbers mean something else from now on. What it couldn't place before, or placed otherwise, is
    /// asked for again.
    pub fn set_roster(&mut self, roster: Roster) {
        if roster == self.roster {
            return;
        }
        self.roster = roster;
        if let Some(live) = &mut self.live
            && live.follow.set_local(&self.roster)
        {
            live.ack.again += 1;
            live.beat = 0;
        }
    }

    /// The session ends in order: this node is standby no longer.
    pub fn stop(&mut self, out: &mut Vec<Action>) {
        if let Some(mut live) = self.live.take() {
            self.written += live.follow.written();
            out.push(Action::Send(live.to_active.seal(&ToActive::Bye.body())));
        }
    }

    /// Takes a datagram from the peer's address, and writes what it tells to the tables.
    pub fn datagram(
        &mut self,
        datagram: &[u8],
        now: Now,
        tables: &Tables<'_>,
        out: &mut Vec<Action>,
    ) {
        let taken = match Kind::of(datagram) {
            Ok(Kind::Welcome) => self.welcome(datagram, now, out),
            Ok(Kind::ToStandby) => self.data(datagram, now, tables, out),
            Ok(Kind::Hello | Kind::ToActive) => Err(Discard::Unexpected),
            Err(why) => Err(why),
        };
        if let Err(why) = taken {
            self.counts.add(why);
        }
    }

    fn welcome(&mut self, datagram: &[u8], now: Now, out: &mut Vec<Action>) -> Result<(), Discard> {
        let welcome = match hear(&self.key, Kind::Welcome, datagram) {
            Ok(welcome) => welcome,
            Err(unheard) => {
                if let Some(refusal) = unheard.refusal {
                    self.refusals.tell(refusal, now, out);
                }
                return Err(unheard.why);
            }
        };
        if self.live.is_some() || welcome.echo != self.call.session {
            return Err(Discard::Unexpected);
        }
        if let Some(difference) = self.terms.difference(&welcome.terms) {
            self.refusals
                .tell(Refusal::Configuration(difference), now, out);
            return Err(Discard::Configuration);
        }
        let (standby, active) = (self.call.session, welcome.session);
        let ages = Ages {
            theirs: welcome.terms.tick_ns,
            ours: self.terms.tick_ns,
        };
        self.live = Some(Live {
            to_active: Sealer::data(&self.key, Kind::ToActive, &standby, &active),
            from_active: Opener::data(&self.key, Kind::ToStandby, &standby, &active),
            follow: Follow::new(&self.roster, ages, self.timeouts, self.stepped_down),
            ack: Ack::default(),
            taken: 0,
            beat: 0,
            heard: now.ns,
        });
        out.push(Action::Connected);
        self.acknowledge(now, out);
        Ok(())
    }

    fn data(
        &mut self,
        datagram: &[u8],
        now: Now,
        tables: &Tables<'_>,
        out: &mut Vec<Action>,
    ) -> Result<(), Discard> {
        let live = self.live.as_mut().ok_or(Discard::OtherSession)?;
        let (number, body) = live.from_active.open(datagram)?;
        let message = ToStandby::read(&body).ok_or(Discard::Malformed)?;
        live.heard = now.ns;
        match message {
            ToStandby::Bye => {
                self.end(Ending::Bye, now, out);
                return Ok(());
            }
            ToStandby::Mark {
                in_sync,
                lag_ms,
                again,
            } => {
                let in_sync = in_sync && again == live.ack.again;
                if in_sync {
                    live.follow.merged();
                    self.stepped_down = None;
                }
                self.lag =
                    (lag_ms != u32::MAX).then(|| (now.ns, u64::from(lag_ms) * super::MILLISECOND));
                self.set_in_sync(in_sync, out);
                return Ok(());
            }
            ToStandby::Roster {
                edition,
                part,
                parts,
                items,
            } => live.follow.roster(edition, part, parts, &items)?,
            ToStandby::Chunk(chunk) => {
                live.follow
                    .chunk(number, &chunk, now, tables, &mut self.counts)?;
            }
        }
        live.ack.add(number);
        live.taken += 1;
        if live.taken >= ACK_AFTER {
            self.acknowledge(now, out);
        }
        Ok(())
    }

    fn set_in_sync(&mut self, in_sync: bool, out: &mut Vec<Action>) {
        if in_sync != self.in_sync {
            self.in_sync = in_sync;
            out.push(Action::InSync(in_sync));
        }
    }

    fn end(&mut self, why: Ending, now: Now, out: &mut Vec<Action>) {
        if let Some(live) = self.live.take() {
            self.written += live.follow.written();
        }
        self.lag = None;
        self.set_in_sync(false, out);
        out.push(Action::Disconnected(why));
        self.call = Call::new(&self.key, &mut self.draw, now.ns);
    }

    fn acknowledge(&mut self, now: Now, out: &mut Vec<Action>) {
        if let Some(live) = &mut self.live {
            live.taken = 0;
            live.beat = now.ns + self.limits.beat;
            let body = ToActive::Ack(live.ack).body();
            out.push(Action::Send(live.to_active.seal(&body)));
        }
    }

    /// When [`Receiver::poll`] is to be called next, unless a datagram comes before.
    #[must_use]
    pub fn due(&self) -> u64 {
        match &self.live {
            Some(live) if live.taken > 0 => 0,
            Some(live) => live.beat.min(live.heard + self.limits.silence),
            None => self.call.due,
        }
    }

    /// Acknowledges, or calls.
    pub fn poll(&mut self, now: Now, out: &mut Vec<Action>) {
        if let Some(live) = &self.live {
            if now.ns >= live.heard + self.limits.silence {
                self.end(Ending::Silence, now, out);
            } else if live.taken > 0 || now.ns >= live.beat {
                self.acknowledge(now, out);
            }
        }
        if self.live.is_none() && now.ns >= self.call.due {
            self.call.due = now.ns + self.limits.greet_every;
            let body = greeting(&Session::default(), &self.terms);
            out.push(Action::Send(self.call.sealer.seal(&body)));
        }
    }
}

impl Call {
    fn new(key: &ClusterKey, draw: &mut Draw, due: u64) -> Self {
        let session = draw.next();
        Call {
            session,
            sealer: Sealer::greeting(key, Kind::Hello, &session),
            due,
        }
    }
}
