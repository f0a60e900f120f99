//! The active node (RFC 3768 and RFC 9568, section 6.4.3), and its lease.

use super::{Machine, RESIGNED, Role};
use crate::vrrp::{
    Action, Heard, Nanos, Reason, Settings, State,
    announce::Series,
    timing::{lease, linger, margin, spacing},
};

/// What an active node keeps in mind.
#[derive(Debug, Clone)]
pub(super) struct Tenure {
    /// When the next advertisement is due: the Adver_Timer.
    advert_at: Nanos,
    /// When the last one was to be sent.
    last: Nanos,
    /// An advertisement that was to be sent then, and isn't known to be.
    sending: Option<Nanos>,
    /// Until when the VIPs are held; not before the first advertisement has been sent.
    lease: Option<Nanos>,
    /// It has resigned, and keeps the VIPs while no other node has shown itself.
    leaving: Option<Leaving>,
    announcements: Series,
}

#[derive(Debug, Clone, Copy)]
struct Leaving {
    /// When none is expected any more.
    until: Nanos,
    /// To stop, or else to hand over.
    stops: bool,
}

impl Tenure {
    /// When something is due.
    pub fn next(&self) -> Nanos {
        let due = self.leaving.map_or(self.advert_at, |leaving| leaving.until);
        let announcement = self.announcements.next().filter(|_| self.holds());
        [self.lease, announcement]
            .into_iter()
            .flatten()
            .fold(due, Nanos::min)
    }

    pub fn reconfigure(&mut self, settings: &Settings) {
        let left = self.announcements.next().is_some();
        self.announcements = Series::new(settings.announcements, settings.announce_every);
        if left {
            self.announcements.restart();
        }
        self.advert_at = self.advert_at.min(self.last + settings.interval.nanos());
    }

    pub fn is_stopping(&self) -> bool {
        self.leaving.is_some_and(|leaving| leaving.stops)
    }

    /// Whether it answers for the VIPs and means to go on.
    fn holds(&self) -> bool {
        self.lease.is_some() && self.leaving.is_none()
    }
}

impl Machine {
    /// RFC 9568 sections 6.4.1 and 6.4.2: advertise; then hold the VIPs and announce them.
    pub(super) fn take_over(&mut self, reason: Reason, now: Nanos) {
        let Settings {
            announcements,
            announce_every,
            ..
        } = self.settings;
        let mut announcements = Series::new(announcements, announce_every);
        announcements.restart();
        self.yielded = false;
        self.role = Role::Active(Tenure {
            advert_at: now,
            last: now,
            sending: None,
            lease: None,
            leaving: None,
            announcements,
        });
        self.out.push(Action::Become(State::Active, reason));
        self.advertise(now);
    }

    fn advertise(&mut self, now: Nanos) {
        let priority = self.priority();
        let interval = self.settings.interval.nanos();
        let Role::Active(tenure) = &mut self.role else {
            return;
        };
        // By the schedule, so that delays don't add up, unless it is off.
        let next = tenure.advert_at + interval;
        let kept = tenure.advert_at <= now && next > now;
        tenure.advert_at = if kept { next } else { now + interval };
        tenure.last = now;
        tenure.sending = Some(now);
        self.out.push(Action::Send { priority });
    }

    /// An advertisement out of turn, at once unless the last was a moment ago.
    pub(super) fn advertise_soon(&mut self, now: Nanos) {
        let interval = self.settings.interval;
        let Role::Active(tenure) = &mut self.role else {
            return;
        };
        let soonest = tenure.last + spacing(interval);
        if tenure.leaving.is_some() {
            return;
        }
        if now >= soonest {
            self.advertise(now);
        } else {
            tenure.advert_at = tenure.advert_at.min(soonest);
        }
    }

    /// The lease counts from before the advertisement was sent, and is renewed only
    /// when it has been: whoever hears it waits longer than that.
    pub(super) fn sent(&mut self, now: Nanos) {
        let length = lease(self.settings.interval);
        let Role::Active(tenure) = &mut self.role else {
            return;
        };
        let Some(asked) = tenure.sending.take() else {
            return;
        };
        let until = asked + length;
        tenure.lease = Some(until);
        if now >= until {
            return self.expire(now);
        }
        self.out.push(Action::HoldUntil(until));
        self.announce(now);
    }

    /// Nothing was sent, so nothing is renewed; tried again a few times within the lease.
    pub(super) fn send_failed(&mut self, now: Nanos) {
        let interval = self.settings.interval;
        let Role::Active(tenure) = &mut self.role else {
            return;
        };
        if tenure.sending.take().is_none() {
            return;
        }
        if tenure.lease.is_none() {
            self.stand_by(Reason::SendFailed, interval, now);
        } else {
            tenure.advert_at = tenure.advert_at.min(now + margin(interval));
        }
    }

    /// Once its lease has run out, another node may hold the VIPs: so this one asks as if it
    /// had just been started.
    pub(super) fn expire(&mut self, now: Nanos) {
        let Role::Active(tenure) = &self.role else {
            return;
        };
        if tenure.lease.is_none_or(|lease| now < lease) {
            return;
        }
        let stopping = tenure.is_stopping();
        self.out.push(Action::Release);
        if stopping {
            self.stopped();
        } else {
            self.stand_by(Reason::LeaseRanOut, self.settings.interval, now);
        }
    }

    pub(super) fn heard_active(&mut self, heard: Heard, now: Nanos) {
        let Role::Active(tenure) = &self.role else {
            return;
        };
        let higher = (heard.priority, heard.from) > (self.priority(), self.settings.address);
        match (tenure.leaving, heard.priority) {
            // RFC 9568 section 6.4.3: so that all know who is active.
            (None, RESIGNED) => return self.advertise_soon(now),
            // Both were active, and both leave: one of them had better stay.
            (Some(leaving), RESIGNED) if !leaving.stops => return self.not_replaced(leaving, now),
            (Some(_), RESIGNED) => return,
            (Some(leaving), _) => return self.replaced(leaving, heard, now),
            (None, _) => {}
        }
        if higher {
            let reason = Reason::Outranked {
                by: heard.from,
                priority: heard.priority,
            };
            // The other may not have heard of us, and has to announce the VIPs again
            // where we have (keepalived: vrrp_higher_prio_send_advert).
            let announced = tenure.lease.is_some();
            self.out.push(Action::Release);
            if announced {
                let priority = self.priority();
                self.out.push(Action::Send { priority });
            }
            self.stand_by(reason, heard.interval, now);
        } else {
            // RFC 9568 section 6.4.3 (RFC 3768 discards it; keepalived answers in both).
            self.advertise_soon(now);
            self.announce_again(now);
        }
    }

    /// The other has announced the VIPs too, and may again before it hears of us.
    fn announce_again(&mut self, now: Nanos) {
        if let Role::Active(tenure) = &mut self.role {
            tenure.announcements.restart();
            self.announce(now);
        }
    }

    fn announce(&mut self, now: Nanos) {
        if let Role::Active(tenure) = &mut self.role
            && tenure.holds()
            && tenure.announcements.take(now)
        {
            self.out.push(Action::Announce);
        }
    }

    pub(super) fn timer_active(&mut self, now: Nanos) {
        let Role::Active(tenure) = &self.role else {
            return;
        };
        if let Some(leaving) = tenure.leaving {
            if now >= leaving.until {
                self.not_replaced(leaving, now);
            }
            return;
        }
        if now >= tenure.advert_at {
            self.advertise(now);
        }
        self.announce(now);
    }

    /// Resigns (RFC 9568 section 6.4.3: Shutdown), but goes on holding the VIPs until
    /// a standby has shown itself or none can be expected any more. The lease is cut
    /// to that before a standby can know.
    pub(super) fn resign(&mut self, stops: bool, now: Nanos) {
        let interval = self.settings.interval;
        let Role::Active(tenure) = &mut self.role else {
            return;
        };
        if let Some(leaving) = &mut tenure.leaving {
            leaving.stops |= stops;
            return;
        }
        let Some(lease) = tenure.lease else {
            // Active, but nobody knows: there is nothing to hand over.
            if stops {
                self.out.push(Action::Send { priority: RESIGNED });
                self.stopped();
            }
            return;
        };
        let until = lease.min(now + linger(interval));
        let held = lease.min(until + margin(interval));
        tenure.sending = None;
        tenure.lease = Some(held);
        tenure.leaving = Some(Leaving { until, stops });
        tenure.announcements.stop();
        self.out.push(Action::HoldUntil(held));
        self.out.push(Action::Send { priority: RESIGNED });
    }

    /// Another node has taken over from this one, which has resigned.
    fn replaced(&mut self, leaving: Leaving, heard: Heard, now: Nanos) {
        self.out.push(Action::Release);
        if leaving.stops {
            return self.stopped();
        }
        self.yielded = true;
        self.stand_by(Reason::HandedOver { to: heard.from }, heard.interval, now);
    }

    /// No other node has taken over.
    fn not_replaced(&mut self, leaving: Leaving, now: Nanos) {
        if leaving.stops {
            self.out.push(Action::Release);
            return self.stopped();
        }
        if let Role::Active(tenure) = &mut self.role {
            tenure.leaving = None;
        }
        self.out
            .push(Action::Become(State::Active, Reason::NobodyTookOver));
        self.advertise(now);
    }
}
