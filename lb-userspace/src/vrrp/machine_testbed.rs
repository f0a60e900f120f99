//! One machine, for tests of its rules.

use std::{net::IpAddr, num::NonZeroU8};

use super::{Action, Event, Heard, Interval, Machine, Nanos, Reason, Settings, State, Version};

pub(super) const MS: Nanos = 1_000_000;
/// When things start.
pub(super) const T: Nanos = 1_000_000 * MS;

pub(super) fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

pub(super) fn v3(centiseconds: u16) -> Interval {
    Interval::from_centiseconds(Version::V3, centiseconds).unwrap()
}

pub(super) fn v2(seconds: u16) -> Interval {
    Interval::from_centiseconds(Version::V2, seconds * 100).unwrap()
}

/// Address 10.0.0.5, no preemption.
pub(super) fn settings(interval: Interval, priority: u8) -> Settings {
    Settings {
        interval,
        priority: NonZeroU8::new(priority).unwrap(),
        address: ip(5),
        preempt: false,
        preempt_delay: 0,
        announcements: 3,
        announce_every: 10 * MS,
    }
}

pub(super) fn heard(from: u8, priority: u8, interval: Interval) -> Heard {
    Heard {
        from: ip(from),
        priority,
        interval,
        same_addresses: true,
    }
}

pub(super) fn advert(from: u8, priority: u8, interval: Interval) -> Event {
    Event::Advert(heard(from, priority, interval))
}

pub(super) fn become_(state: State, reason: Reason) -> Action {
    Action::Become(state, reason)
}

pub(super) fn timer(at: Nanos) -> Action {
    Action::SetTimer(Some(at))
}

pub(super) fn outranked(by: u8, priority: u8) -> Reason {
    Reason::Outranked {
        by: ip(by),
        priority,
    }
}

/// Started at [`T`].
pub(super) fn standby(settings: Settings) -> Machine {
    let mut machine = Machine::new(settings);
    let actions = machine.on(Event::Start, T);
    assert_eq!(actions[0], become_(State::Standby, Reason::Started));
    machine
}

/// Took over in silence, its first advertisement sent; and when.
pub(super) fn active(settings: Settings) -> (Machine, Nanos) {
    let mut machine = Machine::new(settings);
    let Some(&Action::SetTimer(Some(at))) = machine.on(Event::Start, T).last() else {
        panic!("no timer");
    };
    assert_eq!(
        machine.on(Event::Timer, at)[0],
        become_(State::Active, Reason::Silence)
    );
    assert_eq!(machine.on(Event::Sent, at)[1], Action::Announce);
    (machine, at)
}
