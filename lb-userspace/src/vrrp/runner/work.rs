//! What the thread does.

use std::{
    os::fd::AsFd,
    sync::{Arc, Mutex, TryLockError},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Command, Order, Report, flood::Flood, mailbox::Mailbox};
use crate::{
    realtime,
    vrrp::{
        Event, Nanos, State,
        announcer::Announcer,
        group::{Group, clock},
        socket::Buffer,
        status::Live,
    },
};

const MILLISECOND: Nanos = 1_000_000;
/// When to try again what a lock that was held has kept from being done.
const RETRY: Nanos = 2 * MILLISECOND;

/// What the groups are doing, for others to read.
pub(super) struct Board {
    pub realtime: bool,
    pub groups: Vec<Live>,
}

impl Board {
    pub fn of(groups: &[Group]) -> Self {
        Self {
            realtime: false,
            groups: groups.iter().map(|group| *group.live()).collect(),
        }
    }
}

/// All that the thread has.
pub(super) struct Work {
    groups: Vec<Group>,
    announcer: Announcer,
    commands: Arc<Mailbox<Order>>,
    outbox: Arc<Mailbox<Option<Report>>>,
    board: Arc<Mutex<Board>>,
    realtime: bool,
    reports: Vec<Report>,
    unsent: Vec<Option<Report>>,
    flood: Flood,
    stopping: bool,
}

/// What a turn leaves to be done.
struct Rest {
    /// No packet is looked at before then.
    quiet_until: Option<Nanos>,
    /// What to wake up for at the latest.
    until: Option<Nanos>,
}

impl Work {
    pub fn new(
        groups: Vec<Group>,
        announcer: Announcer,
        commands: Arc<Mailbox<Order>>,
        outbox: Arc<Mailbox<Option<Report>>>,
        board: Arc<Mutex<Board>>,
    ) -> Self {
        Self {
            groups,
            announcer,
            commands,
            outbox,
            board,
            realtime: false,
            reports: Vec::new(),
            unsent: Vec::new(),
            flood: Flood::default(),
            stopping: false,
        }
    }

    pub fn run(mut self) {
        self.realtime = realtime::urgent();
        let mut buffer = Buffer::new();
        for group in &mut self.groups {
            group.on(Event::Start, &mut self.reports);
        }
        while let Some(rest) = self.turn(&mut buffer) {
            realtime::here();
            self.wait(&rest);
        }
        realtime::gone();
    }

    /// Everything that has been received, everything that is due, everything that has
    /// been ordered; `None`: that was all.
    ///
    /// What is due is what was due when the turn began: all that had been received by then has
    /// been handed over first. In a flood, what comes later waits for the next turn.
    fn turn(&mut self, buffer: &mut Buffer) -> Option<Rest> {
        let began = clock();
        let mut received = 0;
        for group in &mut self.groups {
            received += group.receive(buffer, &mut self.reports);
        }
        if self.orders() {
            return None;
        }
        for group in &mut self.groups {
            group.on_time(began, &mut self.reports);
        }
        let mut announcing = false;
        for group in &mut self.groups {
            announcing |= group.announce_some(&self.announcer);
        }
        let ended = self.stopping && self.groups.iter().all(|g| g.state() == State::Init);
        if ended {
            self.reports.push(Report::Stopped);
        }
        let told = self.tell();
        if ended && told {
            return None;
        }
        let timers = self.groups.iter().filter_map(Group::timer);
        let timers = timers.chain(announcing.then_some(began));
        let until = timers.chain((!told).then_some(began + RETRY)).min();
        Some(Rest {
            quiet_until: self.flood.pause(received, began, clock()),
            until,
        })
    }

    /// Carries out the commands; says whether to end at once.
    fn orders(&mut self) -> bool {
        let mut orders = Vec::new();
        self.commands.try_take(&mut orders);
        for order in orders {
            match order {
                Order::Command(command) => self.command(command),
                Order::Die => return true,
            }
        }
        false
    }

    fn command(&mut self, command: Command) {
        let reports = &mut self.reports;
        let (group, event) = match command {
            Command::Track {
                group,
                penalty,
                fault,
            } => (group, Event::Track { penalty, fault }),
            Command::HandOver { group } => (group, Event::HandOver),
            Command::InSync(in_sync) => return self.all(&Event::InSync(in_sync)),
            Command::Stop => {
                self.stopping = true;
                return self.all(&Event::Stop);
            }
            Command::Link { group, up } => {
                let group = self.groups.get_mut(group);
                return group.into_iter().for_each(|g| g.link(up, reports));
            }
            Command::Reconfigure { group, settings } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.reconfigure(settings, reports);
                }
                return;
            }
            Command::Addresses { group, addresses } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.set_addresses(addresses);
                }
                return;
            }
        };
        if let Some(group) = self.groups.get_mut(group) {
            group.on(event, reports);
        }
    }

    fn all(&mut self, event: &Event) {
        for group in &mut self.groups {
            group.on(event.clone(), &mut self.reports);
        }
    }

    /// Shows what has changed and hands the reports over; says whether it could without waiting.
    fn tell(&mut self) -> bool {
        let board = match self.board.try_lock() {
            Ok(board) => Some(board),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let shown = board.is_some();
        if let Some(mut board) = board {
            board.realtime = self.realtime;
            for (live, group) in board.groups.iter_mut().zip(&mut self.groups) {
                if group.take_changed() {
                    *live = *group.live();
                }
            }
        }
        self.unsent.extend(self.reports.drain(..).map(Some));
        if !self.unsent.is_empty() {
            self.outbox.try_send(&mut self.unsent);
        }
        shown && self.unsent.is_empty()
    }

    /// Sleeps until there is something to do.
    fn wait(&self, rest: &Rest) {
        let mut sources = vec![PollFd::from_borrowed_fd(
            self.commands.as_fd(),
            PollFlags::IN,
        )];
        if rest.quiet_until.is_none() {
            let sockets = self.groups.iter().map(|group| group.as_fd());
            sources.extend(sockets.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        let until = [rest.quiet_until, rest.until].into_iter().flatten().min();
        let left = until.map(|until| until.saturating_sub(clock()));
        let timeout = left.map(|nanos| Timespec {
            tv_sec: (nanos / 1_000_000_000).cast_signed(),
            tv_nsec: (nanos % 1_000_000_000).cast_signed(),
        });
        // A signal is only another reason for a turn.
        let _ = poll(&mut sources, timeout.as_ref());
    }
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
