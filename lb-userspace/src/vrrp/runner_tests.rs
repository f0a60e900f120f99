//! Two nodes on a wire, with the kernel's sockets and clock.

use std::time::{Duration, Instant};

use super::{
    Clash, Command, GroupSetup, Interval, Reason, Report, State, Version,
    runner_testbed::{Node, VRID, Way},
};
use crate::net::testbed::{DEADLINE, Namespace, two_hosts};

/// A pair with priorities 200 and 100, the first active.
fn pair(way: Way) -> ([Namespace; 2], Node, Node) {
    pair_with(way, |_| {})
}

fn pair_with(way: Way, change: fn(&mut GroupSetup)) -> ([Namespace; 2], Node, Node) {
    let (here, there) = two_hosts();
    let start = |namespace, host, priority| {
        let node = Node::start_with(namespace, way, host, priority, change);
        node.runner.command(Command::InSync(true));
        node
    };
    let first = start(&here, 1, 200);
    assert_eq!(first.becomes(State::Active), Reason::Silence);
    let second = start(&there, 11, 100);
    second.until(|status| status.active == Some((way.address(1), 200)));
    ([here, there], first, second)
}

#[test]
fn elects_takes_over_preempts_and_leaves_in_every_way() {
    std::thread::scope(|scope| {
        for way in Way::ALL {
            scope.spawn(move || life(way));
        }
    });
}

fn life(way: Way) {
    let ([here, _there], first, second) = pair(way);
    assert_eq!(second.status().state, State::Standby, "{way:?}");
    assert!(first.holds() && second.lease.deadline() == 0, "{way:?}");

    // A crash: nothing is sent, nothing released.
    let lease = first.lease.clone();
    drop(first);
    let last = lease.deadline();
    assert!(last > 0);
    assert_eq!(second.becomes(State::Active), Reason::Silence, "{way:?}");
    assert!(second.held_since() > last, "{way:?}: both held the VIPs");

    let first = Node::start(&here, way, 1, 200);
    assert_eq!(first.becomes(State::Active), Reason::Preempted, "{way:?}");
    let by = way.address(1);
    let outranked = Reason::Outranked { by, priority: 200 };
    assert_eq!(second.becomes(State::Standby), outranked, "{way:?}");
    assert_eq!(second.lease.deadline(), 0);
    first.until(|status| status.announced >= 3);

    let Node {
        runner,
        reports,
        lease,
        ..
    } = first;
    runner.stop();
    assert_eq!(lease.deadline(), 0);
    let left = Report::Became {
        group: 0,
        state: State::Init,
        reason: Reason::Stopped,
    };
    let told: Vec<Report> = reports.iter().collect();
    assert_eq!(told, [left, Report::Stopped], "{way:?}");
    assert_eq!(second.becomes(State::Active), Reason::Resigned, "{way:?}");
    let status = second.status();
    assert_eq!(status.active, None);
    let reasons: Vec<Reason> = status.last_transitions.iter().map(|t| t.reason).collect();
    let expected = [
        Reason::Resigned,
        outranked,
        Reason::Silence,
        Reason::Started,
    ];
    assert_eq!(reasons, expected, "{way:?}");
    assert_eq!(status.discarded.iter().sum::<u64>(), 0, "{status:#?}");
}

#[test]
fn hands_over_and_back() {
    let way = Way::PLAIN;
    // Who hands over takes the VIPs back where nobody has shown itself in 1.25 intervals.
    let (_hosts, first, second) = pair_with(way, |setup| {
        let second = Duration::from_secs(1);
        setup.settings.interval = Interval::new(Version::V3, second).expect("an interval");
    });
    first.runner.command(Command::HandOver { group: 0 });
    assert_eq!(second.becomes(State::Active), Reason::Resigned);
    let to = way.address(11);
    assert_eq!(first.becomes(State::Standby), Reason::HandedOver { to });
    assert_eq!(first.lease.deadline(), 0);
    second.runner.command(Command::HandOver { group: 0 });
    assert_eq!(first.becomes(State::Active), Reason::Resigned);
    let to = way.address(1);
    assert_eq!(second.becomes(State::Standby), Reason::HandedOver { to });
}

#[test]
fn tracking_and_links_move_the_addresses() {
    let way = Way::PLAIN;
    let (_hosts, first, second) = pair(way);
    let track = |penalty, fault| Command::Track {
        group: 0,
        penalty,
        fault,
    };
    first.runner.command(track(150, false));
    assert_eq!(second.becomes(State::Active), Reason::Preempted);
    assert_eq!(first.status().priority, 50);
    let by = way.address(11);
    let outranked = Reason::Outranked { by, priority: 100 };
    assert_eq!(first.becomes(State::Standby), outranked);
    first.runner.command(track(0, false));
    assert_eq!(first.becomes(State::Active), Reason::Preempted);
    first.runner.command(track(0, true));
    assert_eq!(second.becomes(State::Active), Reason::Resigned);
    assert_eq!(first.status().reason, Reason::TrackedFault);
    first.runner.command(track(0, false));
    assert_eq!(first.becomes(State::Active), Reason::Preempted);
    let link = |up| Command::Link { group: 0, up };
    first.runner.command(link(false));
    assert_eq!(second.becomes(State::Active), Reason::Silence);
    assert_eq!(
        (first.status().reason, first.holds()),
        (Reason::LinkDown, false)
    );
    first.runner.command(link(true));
    assert_eq!(first.becomes(State::Active), Reason::Preempted);
}

#[test]
fn an_interface_that_was_made_anew_is_found_again() {
    let way = Way::PLAIN;
    let ([here, there], first, second) = pair(way);
    first.runner.command(Command::Link {
        group: 0,
        up: false,
    });
    here.ip("link del eth0");
    drop(second);
    here.wire(&there);
    here.ip("link set eth0 up");
    here.ip("address add 10.0.0.1/24 dev eth0");
    there.ip("address add 10.0.0.11/24 dev eth0");
    let second = Node::start(&there, way, 11, 100);
    assert_eq!(second.becomes(State::Active), Reason::Silence);
    first.runner.command(Command::Link { group: 0, up: true });
    assert_eq!(first.becomes(State::Active), Reason::Preempted);
    let outranked = Reason::Outranked {
        by: way.address(1),
        priority: 200,
    };
    assert_eq!(second.becomes(State::Standby), outranked);
}

#[test]
fn a_split_heals() {
    let way = Way {
        multicast: false,
        ..Way::PLAIN
    };
    let ([here, there], first, second) = pair(way);
    // Each takes the other to be elsewhere: nothing arrives.
    let elsewhere = "lladdr 02:00:00:00:00:ee dev eth0 nud permanent";
    here.ip(&format!("neigh replace 10.0.0.11 {elsewhere}"));
    there.ip(&format!("neigh replace 10.0.0.1 {elsewhere}"));
    assert_eq!(second.becomes(State::Active), Reason::Silence);
    assert!(first.holds());
    let announced = first.status().announced;
    // The second is to be heard first: once it hears the other it is silent.
    there.ip("neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent");
    here.ip("neigh replace 10.0.0.11 lladdr 02:00:00:00:00:11 dev eth0 nud permanent");
    assert!(matches!(
        second.becomes(State::Standby),
        Reason::Outranked { priority: 200, .. }
    ));
    assert_eq!(first.status().state, State::Active);
    first.until(|status| status.announced >= announced + 3);
}

#[test]
fn peers_that_are_configured_otherwise_are_named() {
    let way = Way::PLAIN;
    let (here, there) = two_hosts();
    let first = Node::start(&here, way, 1, 200);
    let second = Node::start_with(&there, way, 11, 100, |setup| {
        setup.addresses.advertised = vec!["203.0.113.11".parse().expect("an address")];
    });
    let named = second.report(|report| match *report {
        Report::Clash { from, clash, .. } => Some((from, clash)),
        _ => None,
    });
    assert_eq!(named, (way.address(1), Clash::Addresses));
    let status = second.until(|status| status.received >= 5);
    let clashes: Vec<_> = status.clashes.iter().map(|c| (c.from, c.clash)).collect();
    assert_eq!(clashes, [named], "once in status");
    let more = second.reports.try_iter();
    let more = more.filter(|report| matches!(report, Report::Clash { .. }));
    assert_eq!(more.count(), 0, "and once told");
    drop(first);

    let version2 = Way {
        version: Version::V2,
        ..way
    };
    let _third = Node::start(&here, version2, 1, 255);
    let refused = second.report(|report| match *report {
        Report::Refused { from, error, .. } => Some((from, error.label())),
        _ => None,
    });
    assert_eq!(refused, (way.address(1), "version"));
}

#[test]
fn other_groups_on_the_link_are_nothing_to_it() {
    let way = Way::PLAIN;
    let (here, there) = two_hosts();
    let first = Node::start(&here, way, 1, 200);
    let second = Node::start_with(&there, way, 11, 100, |setup| setup.vrid = VRID + 1);
    assert_eq!(first.becomes(State::Active), Reason::Silence);
    assert_eq!(second.becomes(State::Active), Reason::Silence);
    let sent = first.status().sent;
    first.until(|status| status.sent > sent + 3);
    for status in [first.status(), second.status()] {
        assert_eq!((status.received, status.discarded), (0, [0; 14]));
    }
}

#[test]
fn announcements_reach_the_link() {
    for way in [Way::ALL[2], Way::ALL[4]] {
        let (here, there) = two_hosts();
        let vip = way.vip();
        // It has been elsewhere.
        there.ip(&format!(
            "neigh replace {vip} lladdr 02:00:00:00:00:ee dev eth0 nud stale"
        ));
        let first = Node::start(&here, way, 1, 200);
        assert_eq!(first.becomes(State::Active), Reason::Silence);
        first.until(|status| status.announced == 3);
        // A busy kernel takes its time to hear.
        let end = Instant::now() + DEADLINE;
        loop {
            let found = there.ip_ask(&format!("neigh show {vip} dev eth0"));
            if found.contains("lladdr 02:00:00:00:00:01") {
                break;
            }
            assert!(Instant::now() < end, "{found}");
        }
    }
}
