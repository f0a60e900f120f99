//! When the active node leaves, and what it holds until then: one machine, rule by rule.

use super::{
    Action, Event, Machine, Reason, Settings, State,
    machine_testbed::{MS, T, active, advert, become_, ip, settings, standby, timer, v3},
};

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
