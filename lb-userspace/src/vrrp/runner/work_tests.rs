use std::time::{Duration, Instant};

use super::*;
use crate::{
    net::testbed::{DEADLINE, two_hosts},
    vrrp::runner_testbed::{Node, Way, a_lease, ifindex},
};

/// Like a process that was stopped: its timer is overdue, and advertisements wait.
#[test]
fn what_was_received_comes_before_what_is_due() {
    let way = Way::PLAIN;
    let (here, there) = two_hosts();
    let active = Node::start(&here, way, 1, 200);
    active.becomes(State::Active);

    let setup = way.setup(11, 100, ifindex(&there), a_lease());
    let mut work = there.enter(|| {
        let groups = vec![Group::open(0, setup).expect("a group")];
        let board = Arc::new(Mutex::new(Board::of(&groups)));
        let announcer = Announcer::open().expect("an announcer");
        let commands = Arc::new(Mailbox::new().expect("a mailbox"));
        let outbox = Arc::new(Mailbox::new().expect("a mailbox"));
        Work::new(groups, announcer, commands, outbox, board)
    });
    let mut buffer = Buffer::new();
    work.all(&Event::Start);
    work.turn(&mut buffer).expect("it goes on");

    let due = work.groups[0].timer().expect("it waits");
    let sent = active.status().sent;
    active.until(|status| clock() > due && status.sent > sent + 3);
    let rest = work.turn(&mut buffer).expect("it goes on");
    let live = work.groups[0].live();
    assert_eq!((live.state, live.transitions), (State::Standby, 1));
    assert!(rest.until > Some(due));

    drop(active);
    let end = Instant::now() + DEADLINE;
    while work.groups[0].state() != State::Active {
        assert!(Instant::now() < end, "it takes over in the end");
        std::thread::sleep(Duration::from_millis(1));
        work.turn(&mut buffer).expect("it goes on");
    }
}
