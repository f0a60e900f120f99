//! Who is active: one machine, rule by rule.

use super::{
    Action, Clash, Event, Heard, Machine, Reason, Settings, State,
    machine_testbed::{
        MS, T, active, advert, become_, heard, ip, outranked, settings, standby, timer, v2, v3,
    },
};

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
