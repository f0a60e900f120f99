//! A standby (RFC 3768 and RFC 9568, section 6.4.2).

use super::{Machine, OWNER, RESIGNED, Role};
use crate::vrrp::{
    Action, Heard, Interval, Nanos, Reason, State,
    timing::{down, skew},
};

/// A standby's view of the active node.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    /// When it takes over: the Active_Down_Timer.
    pub down_at: Nanos,
    /// Why it would.
    why: Reason,
    /// Active_Adver_Interval: the active node's interval, and until one is heard our own.
    interval: Interval,
    /// Since when the active node is one that this node may preempt.
    preemptible: Option<Nanos>,
}

impl Machine {
    /// Becomes a standby, and waits for an active node with `interval`.
    pub(super) fn stand_by(&mut self, reason: Reason, interval: Interval, now: Nanos) {
        self.role = Role::Standby(Watch {
            down_at: now + down(self.priority(), interval),
            why: Reason::Silence,
            interval,
            preemptible: None,
        });
        self.out.push(Action::Become(State::Standby, reason));
    }

    pub(super) fn heard_standby(&mut self, heard: Heard, now: Nanos) {
        let priority = self.priority();
        let lower = heard.priority < priority;
        let owner = priority == OWNER;
        let may = (owner || self.settings.preempt && self.in_sync) && !self.yielded;
        let delay = if owner {
            0
        } else {
            self.settings.preempt_delay
        };
        let Role::Standby(watch) = &mut self.role else {
            return;
        };
        if heard.priority == RESIGNED {
            watch.down_at = now + skew(priority, watch.interval);
            watch.why = Reason::Resigned;
            return;
        }
        watch.preemptible = (lower && may).then(|| watch.preemptible.unwrap_or(now));
        if watch.preemptible.is_some_and(|since| now >= since + delay) {
            // RFC 9568 section 6.4.2: discarded, so the timer runs out.
            watch.why = Reason::Preempted;
            return;
        }
        // In version 2 it is our own: others are not admitted.
        watch.interval = heard.interval;
        watch.down_at = now + down(priority, heard.interval);
        watch.why = Reason::Silence;
    }

    pub(super) fn timer_standby(&mut self, now: Nanos) {
        if let Role::Standby(watch) = &self.role
            && now >= watch.down_at
        {
            self.take_over(watch.why, now);
        }
    }
}
