//! The state machine of one node in one group (RFC 3768 section 6.4, RFC 9568
//! section 6.4).
//!
//! RFC 9568's names are used: *active* and *standby* (there: backup) are RFC 3768's master and
//! backup. Where the RFCs leave something open, keepalived's way is taken.

mod active;
mod standby;

use self::{active::Tenure, standby::Watch};
use super::{Action, Clash, Event, Heard, Nanos, Reason, Settings, State, Version};

/// The priority of the addresses' owner.
const OWNER: u8 = 255;
/// The priority of a node that resigns.
const RESIGNED: u8 = 0;

/// One node in one group: events and the time in, actions out.
#[derive(Debug, Clone)]
pub struct Machine {
    settings: Settings,
    role: Role,
    link_up: bool,
    fault: bool,
    penalty: u8,
    in_sync: bool,
    /// It has handed over, and takes back only what another gives up.
    yielded: bool,
    /// What the caller was last told to wait for.
    timer: Option<Nanos>,
    out: Vec<Action>,
}

/// A state with what is known in it only.
#[derive(Debug, Clone)]
enum Role {
    Init,
    Standby(Watch),
    Active(Tenure),
    Fault,
}

impl Machine {
    /// A machine in [`State::Init`], with its link up, nothing tracked, and out of sync.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            role: Role::Init,
            link_up: true,
            fault: false,
            penalty: 0,
            in_sync: false,
            yielded: false,
            timer: None,
            out: Vec::new(),
        }
    }

    /// What the node is.
    pub fn state(&self) -> State {
        match self.role {
            Role::Init => State::Init,
            Role::Standby(_) => State::Standby,
            Role::Active(_) => State::Active,
            Role::Fault => State::Fault,
        }
    }

    /// Its priority after what is tracked, 1 to 255.
    pub fn priority(&self) -> u8 {
        match self.settings.priority.get() {
            OWNER => OWNER,
            priority => priority.saturating_sub(self.penalty).max(1),
        }
    }

    /// Takes an event that happened by `now`: nanoseconds of the monotonic clock that the
    /// leases are read against, which must have been read before this call. The
    /// actions are to be carried out in their order, before the next event.
    #[must_use]
    pub fn on(&mut self, event: Event, now: Nanos) -> Vec<Action> {
        if event == Event::Timer {
            self.timer = None;
        }
        // Before all else: a node that was stopped may have been replaced.
        self.expire(now);
        match event {
            Event::Start => self.start(now),
            Event::Stop => self.stop(now),
            Event::Advert(heard) => self.heard(heard, now),
            Event::Timer => self.timer(now),
            Event::Sent => self.sent(now),
            Event::SendFailed => self.send_failed(now),
            Event::Track { penalty, fault } => self.track(penalty, fault, now),
            Event::InSync(in_sync) => self.in_sync = in_sync,
            Event::HandOver => self.hand_over(now),
            Event::Link(up) => {
                self.link_up = up;
                self.usable(now);
            }
            Event::Reconfigure(settings) => self.reconfigure(settings, now),
        }
        let next = self.next();
        if next != self.timer {
            self.timer = next;
            self.out.push(Action::SetTimer(next));
        }
        std::mem::take(&mut self.out)
    }

    /// RFC 9568 section 6.4.1.
    fn start(&mut self, now: Nanos) {
        if !matches!(self.role, Role::Init) {
            return;
        }
        if self.link_up && !self.fault {
            self.enter(Reason::Started, now);
        } else {
            self.fail();
        }
    }

    /// An owner becomes active at once, any other node listens first.
    fn enter(&mut self, reason: Reason, now: Nanos) {
        if self.priority() == OWNER && !self.yielded {
            self.take_over(Reason::Owner, now);
        } else {
            self.stand_by(reason, self.settings.interval, now);
        }
    }

    fn stop(&mut self, now: Nanos) {
        match self.role {
            Role::Init => {}
            Role::Active(_) => self.resign(true, now),
            Role::Standby(_) | Role::Fault => self.stopped(),
        }
    }

    fn stopped(&mut self) {
        self.role = Role::Init;
        self.yielded = false;
        self.out.push(Action::Become(State::Init, Reason::Stopped));
    }

    fn hand_over(&mut self, now: Nanos) {
        if matches!(self.role, Role::Active(_)) {
            self.resign(false, now);
        }
    }

    fn heard(&mut self, heard: Heard, now: Nanos) {
        if matches!(self.role, Role::Init | Role::Fault) || !self.admit(&heard) {
            return;
        }
        match self.role {
            Role::Active(_) => self.heard_active(heard, now),
            _ => self.heard_standby(heard, now),
        }
    }

    /// Whether to go by an advertisement; reports what doesn't go together (RFC 3768
    /// section 7.1, RFC 9568 section 7.1).
    fn admit(&mut self, heard: &Heard) -> bool {
        let version2 = self.settings.interval.version() == Version::V2;
        let ours = self.settings.interval;
        let (clash, admitted) = if heard.from == self.settings.address {
            (Clash::OwnAddress, false)
        } else if version2 && heard.interval != ours {
            let theirs = heard.interval;
            (Clash::Interval { theirs, ours }, false)
        } else if !heard.same_addresses {
            (Clash::Addresses, !version2 || heard.priority == OWNER)
        } else if heard.priority == OWNER && self.priority() == OWNER {
            // RFC 9568 section 7.1 has an owner ignore all others, so two would both be
            // active for ever; keepalived lets the address decide.
            (Clash::Owners, true)
        } else {
            return true;
        };
        self.out.push(Action::Clash(heard.from, clash));
        admitted
    }

    fn timer(&mut self, now: Nanos) {
        match self.role {
            Role::Active(_) => self.timer_active(now),
            Role::Standby(_) => self.timer_standby(now),
            Role::Init | Role::Fault => {}
        }
    }

    fn track(&mut self, penalty: u8, fault: bool, now: Nanos) {
        let before = self.priority();
        self.penalty = penalty;
        self.fault = fault;
        self.usable(now);
        if self.priority() != before {
            self.advertise_soon(now);
        }
    }

    fn reconfigure(&mut self, settings: Settings, now: Nanos) {
        self.settings = settings;
        if let Role::Active(tenure) = &mut self.role {
            tenure.reconfigure(&self.settings);
        }
        self.advertise_soon(now);
    }

    /// Goes into and out of [`State::Fault`], as link and tracking say.
    fn usable(&mut self, now: Nanos) {
        let usable = self.link_up && !self.fault;
        match self.role {
            Role::Active(_) | Role::Standby(_) if !usable => self.fail(),
            Role::Fault if usable => self.enter(Reason::Recovered, now),
            _ => {}
        }
    }

    /// Takes no part any more; an active node resigns, so that a standby waits no
    /// longer than its skew.
    fn fail(&mut self) {
        if let Role::Active(tenure) = &self.role {
            let stopping = tenure.is_stopping();
            self.out.push(Action::Release);
            if self.link_up {
                self.out.push(Action::Send { priority: RESIGNED });
            }
            if stopping {
                return self.stopped();
            }
        }
        self.role = Role::Fault;
        let reason = if self.link_up {
            Reason::TrackedFault
        } else {
            Reason::LinkDown
        };
        self.out.push(Action::Become(State::Fault, reason));
    }

    /// When something is to be done without an event.
    fn next(&self) -> Option<Nanos> {
        match &self.role {
            Role::Standby(watch) => Some(watch.down_at),
            Role::Active(tenure) => Some(tenure.next()),
            Role::Init | Role::Fault => None,
        }
    }
}
