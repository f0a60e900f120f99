//! One machine, rule by rule.

use std::{net::IpAddr, num::NonZeroU8};

use super::{
    Action, Clash, Event, Heard, Interval, Machine, Nanos, Reason, Settings, State, Version,
};

const MS: Nanos = 1_000_000;
/// When things start.
const T: Nanos = 1_000_000 * MS;

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn v3(centiseconds: u16) -> Interval {
    Interval::from_centiseconds(Version::V3, centiseconds).unwrap()
}

fn v2(seconds: u16) -> Interval {
    Interval::from_centiseconds(Version::V2, seconds * 100).unwrap()
}

/// Address 10.0.0.5, no preemption.
fn settings(interval: Interval, priority: u8) -> Settings {
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

fn heard(from: u8, priority: u8, interval: Interval) -> Heard {
    Heard {
        from: ip(from),
        priority,
        interval,
        same_addresses: true,
    }
}

fn advert(from: u8, priority: u8, interval: Interval) -> Event {
    Event::Advert(heard(from, priority, interval))
}

fn become_(state: State, reason: Reason) -> Action {
    Action::Become(state, reason)
}

fn timer(at: Nanos) -> Action {
    Action::SetTimer(Some(at))
}

fn outranked(by: u8, priority: u8) -> Reason {
    Reason::Outranked {
        by: ip(by),
        priority,
    }
}

/// Started at [`T`].
fn standby(settings: Settings) -> Machine {
    let mut machine = Machine::new(settings);
    let actions = machine.on(Event::Start, T);
    assert_eq!(actions[0], become_(State::Standby, Reason::Started));
    machine
}

/// Took over in silence, its first advertisement sent; and when.
fn active(settings: Settings) -> (Machine, Nanos) {
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

#[test]
fn the_skew_of_version_2_is_of_a_second_and_of_version_3_of_the_interval() {
    let down = |interval, priority| {
        let actions = Machine::new(settings(interval, priority)).on(Event::Start, T);
        assert_eq!(actions[0], become_(State::Standby, Reason::Started));
        let [_, Action::SetTimer(Some(at))] = actions[..] else {
            panic!("{actions:?}");
        };
        at - T
    };
    // RFC 3768 section 6.1.
    assert_eq!(down(v2(1), 100), 3_000 * MS + 609_375_000);
    assert_eq!(down(v2(10), 192), 30_000 * MS + 250 * MS);
    // RFC 9568 section 6.1.
    assert_eq!(down(v3(100), 100), 3_000 * MS + 609_375_000);
    assert_eq!(down(v3(2), 192), 60 * MS + 5 * MS);
    assert_eq!(down(v3(2), 254), 60 * MS + 156_250);
}

#[test]
fn a_take_over_advertises_holds_and_announces_in_this_order() {
    let mut machine = standby(settings(v3(2), 192));
    let at = T + 65 * MS;
    assert_eq!(machine.on(Event::Timer, at - 1), [timer(at)], "too early");
    let actions = machine.on(Event::Timer, at);
    let send = Action::Send { priority: 192 };
    assert_eq!(
        actions,
        [
            become_(State::Active, Reason::Silence),
            send,
            timer(at + 20 * MS)
        ]
    );
    let sent = machine.on(Event::Sent, at + MS);
    let held = Action::HoldUntil(at + 60 * MS);
    assert_eq!(sent, [held, Action::Announce, timer(at + 11 * MS)]);
    assert_eq!(
        machine.on(Event::Timer, at + 11 * MS),
        [Action::Announce, timer(at + 20 * MS)]
    );
    // By the schedule, though the timer was late.
    let next = machine.on(Event::Timer, at + 25 * MS);
    assert_eq!(next, [send, Action::Announce, timer(at + 40 * MS)]);
    assert_eq!(
        machine.on(Event::Sent, at + 25 * MS),
        [Action::HoldUntil(at + 85 * MS)]
    );
}

#[test]
fn an_owner_starts_active_and_always_preempts() {
    let mut machine = Machine::new(settings(v3(2), 255));
    let actions = machine.on(Event::Start, T);
    assert_eq!(
        actions[..2],
        [
            become_(State::Active, Reason::Owner),
            Action::Send { priority: 255 }
        ]
    );
    // What is tracked doesn't lower it.
    let _ = machine.on(Event::Sent, T);
    assert_eq!(
        machine.on(
            Event::Track {
                penalty: 200,
                fault: false
            },
            T
        ),
        []
    );
    assert_eq!(machine.priority(), 255);
    // Two owners: named; the address decides.
    let actions = machine.on(advert(4, 255, v3(2)), T + MS);
    assert_eq!(actions[0], Action::Clash(ip(4), Clash::Owners));
    assert_eq!(machine.state(), State::Active);
    let actions = machine.on(advert(6, 255, v3(2)), T + MS);
    assert_eq!(actions[0], Action::Clash(ip(6), Clash::Owners));
    assert_eq!(machine.state(), State::Standby);
    // It neither lets others renew, nor asks for sync.
    let Action::SetTimer(before) = actions[4] else {
        panic!("{actions:?}")
    };
    assert_eq!(machine.on(advert(4, 254, v3(2)), T + 2 * MS), []);
    assert_eq!(
        machine.on(Event::Timer, before.unwrap())[0],
        become_(State::Active, Reason::Preempted)
    );
}

#[test]
fn a_backup_adopts_the_interval_in_version_3() {
    let mut machine = standby(settings(v3(2), 192));
    // Its own skew of the active node's interval.
    assert_eq!(
        machine.on(advert(6, 200, v3(100)), T),
        [timer(T + 3_250 * MS)]
    );
    // Which counts for a resignation, too.
    assert_eq!(
        machine.on(advert(6, 0, v3(2)), T + MS),
        [timer(T + MS + 250 * MS)]
    );
    let actions = machine.on(Event::Timer, T + 251 * MS);
    assert_eq!(actions[0], become_(State::Active, Reason::Resigned));
    // It advertises by its own.
    assert_eq!(actions[2], timer(T + 251 * MS + 20 * MS));
    // And adopts again when it steps down.
    let actions = machine.on(advert(6, 200, v3(50)), T + 252 * MS);
    let at = T + 252 * MS + 1_500 * MS + 125 * MS;
    let down = become_(State::Standby, outranked(6, 200));
    assert_eq!(actions, [Action::Release, down, timer(at)]);
}

#[test]
fn version_2_ignores_another_interval_and_other_addresses() {
    let mut machine = standby(settings(v2(1), 100));
    let clash = Clash::Interval {
        theirs: v2(2),
        ours: v2(1),
    };
    assert_eq!(
        machine.on(advert(6, 200, v2(2)), T + MS),
        [Action::Clash(ip(6), clash)]
    );
    let strange = |priority, version| {
        Event::Advert(Heard {
            same_addresses: false,
            ..heard(6, priority, version)
        })
    };
    let clash = Action::Clash(ip(6), Clash::Addresses);
    assert_eq!(machine.on(strange(200, v2(1)), T + MS), [clash]);
    // But not an owner's.
    let actions = machine.on(strange(255, v2(1)), T + MS);
    assert_eq!(actions, [clash, timer(T + MS + 3_609_375_000)]);
    // Version 3 names it and goes by it.
    let mut machine = standby(settings(v3(2), 192));
    assert_eq!(
        machine.on(strange(200, v3(2)), T + MS),
        [clash, timer(T + 66 * MS)]
    );
}

#[test]
fn what_comes_from_our_own_address_is_no_peer() {
    let clash = Action::Clash(ip(5), Clash::OwnAddress);
    let (mut machine, at) = active(settings(v3(2), 100));
    assert_eq!(machine.on(advert(5, 200, v3(2)), at + MS), [clash]);
    assert_eq!(machine.state(), State::Active);
}

#[test]
fn between_equal_priorities_the_higher_address_stays() {
    let (mut machine, at) = active(settings(v3(2), 100));
    let _ = machine.on(advert(4, 100, v3(2)), at + MS);
    assert_eq!(machine.state(), State::Active);
    let actions = machine.on(advert(6, 100, v3(2)), at + 2 * MS);
    // It says once more that it was there, so that the other announces again.
    assert_eq!(
        actions[..3],
        [
            Action::Release,
            Action::Send { priority: 100 },
            become_(State::Standby, outranked(6, 100))
        ]
    );
    // A backup doesn't preempt its equal, whatever the address.
    let settings = Settings {
        preempt: true,
        ..settings(v3(2), 192)
    };
    let mut machine = standby(settings);
    let _ = machine.on(Event::InSync(true), T);
    assert_eq!(
        machine.on(advert(4, 192, v3(2)), T + 10 * MS),
        [timer(T + 75 * MS)]
    );
}

#[test]
fn addresses_are_compared_as_numbers() {
    let (mut machine, at) = active(Settings {
        address: ip(100),
        ..settings(v3(2), 100)
    });
    let _ = machine.on(advert(20, 100, v3(2)), at + MS);
    assert_eq!(machine.state(), State::Active);
}

#[test]
fn a_lower_active_node_is_answered_at_once_and_the_vips_announced_again() {
    let (mut machine, at) = active(settings(v3(2), 100));
    for wait in [11, 22] {
        let _ = machine.on(Event::Timer, at + wait * MS);
        let _ = machine.on(Event::Sent, at + wait * MS);
    }
    assert_eq!(
        machine.on(Event::Timer, at + 32 * MS),
        [timer(at + 40 * MS)],
        "all announced"
    );
    let send = Action::Send { priority: 100 };
    let answer = machine.on(advert(6, 99, v3(2)), at + 35 * MS);
    assert_eq!(answer, [send, Action::Announce, timer(at + 45 * MS)]);
    assert_eq!(
        machine.on(Event::Sent, at + 35 * MS),
        [Action::HoldUntil(at + 95 * MS)]
    );
    // A flood is answered eight times in an interval, and announced at the usual pace.
    let mut sent = 0;
    let mut announced = 0;
    let mut due = None;
    for step in 0..2_000 {
        let now = at + 36 * MS + step * MS / 100;
        let mut actions = machine.on(advert(6, 99, v3(2)), now);
        if due.is_some_and(|due| now >= due) {
            actions.extend(machine.on(Event::Timer, now));
        }
        for action in actions {
            match action {
                Action::Send { .. } => {
                    sent += 1;
                    let _ = machine.on(Event::Sent, now);
                }
                Action::Announce => announced += 1,
                Action::SetTimer(at) => due = at,
                _ => {}
            }
        }
    }
    assert_eq!((sent, announced), (8, 2));
}

#[test]
fn a_resignation_is_answered_by_the_active_node() {
    let (mut machine, at) = active(settings(v3(2), 100));
    let actions = machine.on(advert(6, 0, v3(2)), at + 5 * MS);
    assert_eq!(actions[0], Action::Send { priority: 100 });
    assert_eq!(machine.state(), State::Active);
}

#[test]
fn preemption_waits_for_sync_and_its_delay() {
    let delayed = Settings {
        preempt: true,
        preempt_delay: 50 * MS,
        ..settings(v3(2), 192)
    };
    let mut machine = standby(delayed);
    let lower = advert(6, 100, v3(2));
    // Out of sync it listens.
    assert_eq!(machine.on(lower.clone(), T + 20 * MS), [timer(T + 85 * MS)]);
    let _ = machine.on(Event::InSync(true), T + 30 * MS);
    // From here on the delay counts.
    assert_eq!(
        machine.on(lower.clone(), T + 40 * MS),
        [timer(T + 105 * MS)]
    );
    assert_eq!(
        machine.on(lower.clone(), T + 80 * MS),
        [timer(T + 145 * MS)]
    );
    // RFC 9568 section 6.4.2: discarded.
    assert_eq!(machine.on(lower.clone(), T + 90 * MS), []);
    let mut resynced = machine.clone();
    let actions = machine.on(Event::Timer, T + 145 * MS);
    assert_eq!(actions[0], become_(State::Active, Reason::Preempted));
    // Sync lost meanwhile: it counts anew.
    let _ = resynced.on(Event::InSync(false), T + 95 * MS);
    assert_eq!(
        resynced.on(lower.clone(), T + 100 * MS),
        [timer(T + 165 * MS)]
    );
    let _ = resynced.on(Event::InSync(true), T + 105 * MS);
    assert_eq!(
        resynced.on(lower.clone(), T + 120 * MS),
        [timer(T + 185 * MS)]
    );
    assert_eq!(resynced.on(lower, T + 160 * MS), [timer(T + 225 * MS)]);
}

#[test]
fn tracking_lowers_the_priority_and_tells_at_once() {
    let (mut machine, at) = active(settings(v3(2), 100));
    let now = at + 5 * MS;
    let actions = machine.on(
        Event::Track {
            penalty: 30,
            fault: false,
        },
        now,
    );
    assert_eq!(actions[0], Action::Send { priority: 70 });
    let _ = machine.on(
        Event::Track {
            penalty: 255,
            fault: false,
        },
        now,
    );
    assert_eq!(machine.priority(), 1);
}

#[test]
fn who_cannot_serve_releases_and_resigns() {
    let (mut machine, at) = active(settings(v3(2), 100));
    let fault = |fault| Event::Track { penalty: 0, fault };
    let actions = machine.on(fault(true), at + MS);
    let resigned = Action::Send { priority: 0 };
    let faulty = become_(State::Fault, Reason::TrackedFault);
    assert_eq!(
        actions,
        [Action::Release, resigned, faulty, Action::SetTimer(None)]
    );
    assert_eq!(machine.on(Event::Sent, at + MS), []);
    assert_eq!(machine.on(advert(6, 1, v3(2)), at + MS), []);
    let _ = machine.on(Event::Link(false), at + MS);
    assert_eq!(
        machine.on(fault(false), at + MS),
        [],
        "the link is down still"
    );
    let back = machine.on(Event::Link(true), at + MS);
    assert_eq!(back[0], become_(State::Standby, Reason::Recovered));
    // Without a link there is nobody to resign to.
    let down = machine.on(Event::Link(false), at + MS);
    assert_eq!(
        down,
        [
            become_(State::Fault, Reason::LinkDown),
            Action::SetTimer(None)
        ]
    );
    let (mut machine, at) = active(settings(v3(2), 100));
    let actions = machine.on(Event::Link(false), at);
    assert_eq!(
        actions[..2],
        [Action::Release, become_(State::Fault, Reason::LinkDown)]
    );
}

#[test]
fn an_orderly_stop_keeps_the_vips_until_a_standby_has_them() {
    let (mut machine, at) = active(settings(v3(2), 100));
    let now = at + 10 * MS;
    // 255/256 of the interval, and a quarter of it, and as much again for the lease.
    let until = now + 19_921_875 + 5 * MS;
    let actions = machine.on(Event::Stop, now);
    // The lease is cut before a standby can know.
    let (cut, resigned) = (
        Action::HoldUntil(until + 5 * MS),
        Action::Send { priority: 0 },
    );
    assert_eq!(actions, [cut, resigned, timer(until)]);
    assert_eq!(
        machine.on(Event::Sent, now),
        [],
        "a resignation renews nothing"
    );
    let stopped = become_(State::Init, Reason::Stopped);
    let mut alone = machine.clone();
    let actions = machine.on(advert(6, 1, v3(2)), now + 8 * MS);
    assert_eq!(actions, [Action::Release, stopped, Action::SetTimer(None)]);
    assert_eq!(alone.on(Event::Timer, until), [Action::Release, stopped]);
}

#[test]
fn a_hand_over_to_nobody_ends_and_one_to_a_standby_lasts() {
    let preempting = Settings {
        preempt: true,
        ..settings(v3(2), 200)
    };
    let (mut machine, at) = active(preempting);
    let _ = machine.on(Event::InSync(true), at);
    let actions = machine.on(Event::HandOver, at);
    let Some(&Action::SetTimer(Some(until))) = actions.last() else {
        panic!("{actions:?}")
    };
    let mut taken = machine.clone();
    let actions = machine.on(Event::Timer, until);
    let still = become_(State::Active, Reason::NobodyTookOver);
    assert_eq!(actions[..2], [still, Action::Send { priority: 200 }]);
    assert_eq!(
        machine.on(Event::Sent, until)[0],
        Action::HoldUntil(until + 60 * MS)
    );

    let actions = taken.on(advert(6, 100, v3(2)), at + 3 * MS);
    let over = become_(State::Standby, Reason::HandedOver { to: ip(6) });
    assert_eq!(actions[..2], [Action::Release, over]);
    // Its priority is higher, and it may preempt, but it was told to go.
    let later = at + 23 * MS;
    let skew = 20 * MS * 56 / 256;
    assert_eq!(
        taken.on(advert(6, 100, v3(2)), later),
        [timer(later + 60 * MS + skew)]
    );
    let actions = taken.on(Event::Timer, later + 60 * MS + skew);
    assert_eq!(actions[0], become_(State::Active, Reason::Silence));
}

#[test]
fn of_two_that_hand_over_at_once_one_stays() {
    let (mut machine, at) = active(settings(v3(2), 100));
    let _ = machine.on(Event::HandOver, at);
    let actions = machine.on(advert(4, 0, v3(2)), at + MS);
    let still = become_(State::Active, Reason::NobodyTookOver);
    assert_eq!(actions[..2], [still, Action::Send { priority: 100 }]);
    // One that stops doesn't stay for that.
    let _ = machine.on(Event::Sent, at + MS);
    let _ = machine.on(Event::Stop, at + 2 * MS);
    assert_eq!(machine.on(advert(4, 0, v3(2)), at + 3 * MS), []);
}

#[test]
fn a_lease_that_ran_out_is_not_renewed() {
    for event in [
        Event::Timer,
        Event::Sent,
        advert(6, 1, v3(2)),
        Event::InSync(true),
    ] {
        let (mut machine, at) = active(settings(v3(2), 100));
        let late = at + 60 * MS;
        let actions = machine.on(event, late);
        assert_eq!(
            actions[..2],
            [
                Action::Release,
                become_(State::Standby, Reason::LeaseRanOut)
            ]
        );
        assert!(
            !actions
                .iter()
                .any(|action| matches!(action, Action::Send { .. } | Action::HoldUntil(_)))
        );
    }
    // Stopped between asking for an advertisement and sending it.
    let (mut machine, at) = active(settings(v3(2), 100));
    let _ = machine.on(Event::Timer, at + 20 * MS);
    let actions = machine.on(Event::Sent, at + 80 * MS);
    assert_eq!(actions[1], become_(State::Standby, Reason::LeaseRanOut));
}

#[test]
fn only_what_is_sent_renews_the_lease() {
    let (mut machine, at) = active(settings(v3(2), 100));
    let _ = machine.on(Event::Timer, at + 20 * MS);
    // Tried again a quarter of an interval later, and so on.
    assert_eq!(
        machine.on(Event::SendFailed, at + 20 * MS),
        [timer(at + 25 * MS)]
    );
    let _ = machine.on(Event::Timer, at + 25 * MS);
    assert_eq!(
        machine.on(Event::SendFailed, at + 25 * MS),
        [],
        "it is set already"
    );
    assert_eq!(
        machine.on(Event::Timer, at + 30 * MS)[0],
        Action::Send { priority: 100 }
    );
    let actions = machine.on(Event::Timer, at + 60 * MS);
    assert_eq!(actions[1], become_(State::Standby, Reason::LeaseRanOut));

    // A node that can't even say that it is active never holds.
    let mut machine = standby(settings(v3(2), 192));
    let _ = machine.on(Event::Timer, T + 65 * MS);
    let actions = machine.on(Event::SendFailed, T + 65 * MS);
    let failed = become_(State::Standby, Reason::SendFailed);
    assert_eq!(actions, [failed, timer(T + 130 * MS)]);
}

#[test]
fn a_change_of_priority_is_advertised_at_once() {
    let (mut machine, at) = active(settings(v3(2), 100));
    let now = at + 5 * MS;
    let actions = machine.on(Event::Reconfigure(settings(v3(1), 120)), now);
    assert_eq!(actions[0], Action::Send { priority: 120 });
    assert_eq!(
        machine.on(Event::Sent, now)[0],
        Action::HoldUntil(now + 30 * MS)
    );
    assert_eq!(machine.state(), State::Active);
}

#[test]
fn stopped_machines_do_nothing() {
    let mut machine = Machine::new(settings(v3(2), 100));
    for event in [
        Event::Stop,
        Event::Timer,
        Event::Sent,
        Event::HandOver,
        advert(6, 0, v3(2)),
    ] {
        assert_eq!(machine.on(event, T), []);
    }
    let _ = machine.on(Event::Link(false), T);
    let actions = machine.on(Event::Start, T);
    assert_eq!(actions, [become_(State::Fault, Reason::LinkDown)]);
    assert_eq!(machine.on(Event::Start, T), [], "started already");
}
