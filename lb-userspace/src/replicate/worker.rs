//! What the thread does, turn by turn: commands, what was received, what is due, sleep.

use std::{
    io::ErrorKind,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver as Commands, SyncSender},
    },
    time::{Duration, Instant, SystemTime},
};

use lb_common::flow::{FUTURE, Tick};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};

use super::{
    Action, Counts, Ending, MILLISECOND, Now, Receiver, Role, Sender, Setup, Status, Tables, Told,
    replicator::Command,
    side::{Due, Progress, Side},
    socket::Socket,
};

/// The shortest time from one turn to the next, so that no flood keeps the thread busy.
const PACE: u64 = MILLISECOND;
/// And from the end of one to the next, however long it took.
const PAUSE: u64 = PACE / 4;
/// Datagrams of one turn: ten times what the peer sends in a turn's time by the default limits.
const BATCH: usize = 128;
/// Between two attempts to connect, where there is no route to the peer.
const CONNECT_EVERY: u64 = 100 * MILLISECOND;

pub(super) struct Worker {
    setup: Setup,
    socket: Socket,
    commands: Commands<Command>,
    wake: Arc<OwnedFd>,
    shown: Arc<Mutex<Status>>,
    told: Box<dyn Fn(Told) + Send>,
    start: Instant,
    side: Side,
    /// When this node was active last, on both clocks, until a session as standby has been in sync.
    stepped_down: Option<Now>,
    status: Status,
    /// Who waits until the standby has caught up with what had changed by then.
    waiting: Vec<(u64, SyncSender<()>)>,
    /// Slots and discards of the sides before this one.
    before: ([u64; 2], Counts),
}

impl Worker {
    pub(super) fn new(
        setup: Setup,
        socket: Socket,
        commands: Commands<Command>,
        wake: Arc<OwnedFd>,
        shown: Arc<Mutex<Status>>,
        told: Box<dyn Fn(Told) + Send>,
    ) -> Self {
        Worker {
            status: Status::new(setup.peer),
            setup,
            socket,
            commands,
            wake,
            shown,
            told,
            start: Instant::now(),
            side: Side::Off,
            stepped_down: None,
            waiting: Vec::new(),
            before: Default::default(),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let began = self.now().ns;
            if !self.obey() {
                break;
            }
            if let Err(error) = self.socket.connect() {
                self.note(&error);
            }
            // What has been received first: a thread that was stopped must not find its peer silent.
            self.receive();
            self.poll();
            self.show();
            self.wait(began);
        }
        self.set_role(Role::Off);
        self.show();
    }

    fn now(&self) -> Now {
        Now {
            ns: self.start.elapsed().as_nanos() as u64,
            tick: (self.setup.tick)(),
        }
    }

    /// Does what was asked for; false when the thread is to end.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Role(role) => self.set_role(role),
                Command::Roster(roster, done) => {
                    self.setup.roster = roster.clone();
                    self.side.set_roster(roster);
                    // Nobody waits any more, if it took long.
                    let _ = done.send(());
                }
                Command::CatchUp(done) => {
                    let now = self.now();
                    self.side.hurry(now);
                    self.waiting.push((now.ns, done));
                }
                Command::Stop => return false,
            }
        }
        true
    }

    fn set_role(&mut self, role: Role) {
        let old = self.side.role();
        if role == old {
            return;
        }
        let now = self.now();
        let progress = self.side.progress(now);
        let mut out = Vec::new();
        self.side.stop(&mut out);
        if progress.in_sync {
            out.push(Action::InSync(false));
        }
        if progress.is_connected {
            out.push(Action::Disconnected(Ending::Role));
        }
        self.carry_out(out);
        for (before, slots) in self.before.0.iter_mut().zip(progress.slots) {
            *before += slots;
        }
        self.before.1.add_all(&progress.discarded);
        match old {
            Role::Active => self.stepped_down = Some(now),
            // Of what came meanwhile, nothing is meant for the new role.
            Role::Off => self.socket.drain(),
            Role::Standby => {}
        }
        self.side = self.side_of(role, now);
    }

    fn side_of(&mut self, role: Role, now: Now) -> Side {
        let mut seed = [0; 32];
        if let Err(error) = getrandom(&mut seed, GetRandomFlags::empty()) {
            // Without randomness nothing may be sealed.
            self.note(&error.into());
            return Side::Off;
        }
        let stepped_down = self.stepped_down(now);
        let setup = &self.setup;
        let (key, roster) = (setup.key.clone(), setup.roster.clone());
        let (terms, timeouts, limits) = (setup.terms, setup.timeouts, setup.limits);
        match role {
            Role::Off => Side::Off,
            Role::Active => {
                let sender = Sender::new(key, terms, timeouts, limits, roster, &seed);
                Side::Active(Box::new(sender))
            }
            Role::Standby => {
                let receiver =
                    Receiver::new(key, terms, timeouts, limits, roster, stepped_down, &seed);
                Side::Standby(Box::new(receiver))
            }
        }
    }

    /// The tick in which this node was active last, unless that is so long ago that ticks have come round.
    fn stepped_down(&self, now: Now) -> Option<Tick> {
        let at = self.stepped_down?;
        let known = u64::from(FUTURE).saturating_mul(self.setup.terms.tick_ns);
        (now.ns.saturating_sub(at.ns) < known).then_some(at.tick)
    }

    fn receive(&mut self) {
        if self.socket.fd().is_none() || matches!(self.side, Side::Off) {
            return;
        }
        let (flows, ports) = (&*self.setup.flows, &*self.setup.ports);
        let tables = Tables::new(flows, ports);
        let mut out = Vec::new();
        let mut errors = Vec::new();
        for _ in 0..BATCH {
            let now = Now {
                ns: self.start.elapsed().as_nanos() as u64,
                tick: (self.setup.tick)(),
            };
            match self.socket.receive() {
                Ok(datagram) => {
                    self.status.received.add(datagram.len());
                    self.side.datagram(datagram, now, &tables, &mut out);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => errors.push(error),
            }
        }
        errors.iter().for_each(|error| self.note(error));
        self.carry_out(out);
    }

    fn poll(&mut self) {
        let now = self.now();
        let tables = Tables::new(&self.setup.flows, &self.setup.ports);
        let mut out = Vec::new();
        self.side.poll(now, &tables, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        let at = SystemTime::now;
        for action in actions {
            let told = match action {
                Action::Send(datagram) => {
                    self.send(&datagram);
                    continue;
                }
                Action::Connected => {
                    self.status.connected = Some(at());
                    Told::Connected
                }
                Action::Disconnected(ending) => {
                    self.status.connected = None;
                    self.status.ended = Some((ending, at()));
                    Told::Disconnected(ending)
                }
                Action::Refused(refusal) => {
                    self.status.refused = Some((refusal, at()));
                    Told::Refused(refusal)
                }
                Action::InSync(in_sync) => match self.side.role() {
                    Role::Active => Told::StandbyInSync(in_sync),
                    Role::Off | Role::Standby => {
                        if in_sync {
                            self.stepped_down = None;
                        }
                        Told::InSync(in_sync)
                    }
                },
            };
            (self.told)(told);
        }
    }

    fn send(&mut self, datagram: &[u8]) {
        match self.socket.send(datagram) {
            Ok(()) => self.status.sent.add(datagram.len()),
            // Lost, as it may be on its way too.
            Err(error) => {
                self.status.unsent += 1;
                self.note(&error);
            }
        }
    }

    fn note(&mut self, error: &std::io::Error) {
        let known = Errno::from_io_error(error);
        if let Some(errno) =
            known.filter(|errno| !matches!(*errno, Errno::CONNREFUSED | Errno::AGAIN))
        {
            self.status.trouble = Some((errno, SystemTime::now()));
        }
    }

    fn show(&mut self) {
        let now = self.now();
        let progress = self.side.progress(now);
        self.answer(now, &progress);
        let (slots, mut discarded) = self.before;
        discarded.add_all(&progress.discarded);
        let status = &mut self.status;
        status.role = self.side.role();
        status.in_sync = progress.in_sync;
        status.lag = progress.lag.map(Duration::from_nanos);
        status.slots_sent = slots[0] + progress.slots[0];
        status.slots_written = slots[1] + progress.slots[1];
        status.discarded = discarded;
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = *status;
    }

    /// Answers those who wait for the standby, and those who would wait for nobody.
    fn answer(&mut self, now: Now, progress: &Progress) {
        let is_followed = self.side.role() == Role::Active && progress.is_connected;
        let synced = progress.lag.map(|lag| now.ns.saturating_sub(lag));
        self.waiting.retain(|(since, done)| {
            let waits = is_followed && synced.is_none_or(|synced| synced < *since);
            if !waits {
                // Who has lost patience doesn't listen any more.
                let _ = done.send(());
            }
            waits
        });
    }

    /// Sleeps until there is something to do, and until the pace allows it. Commands wait for neither.
    fn wait(&self, began: u64) {
        let elapsed = || self.start.elapsed().as_nanos() as u64;
        let mut wake = [PollFd::new(&*self.wake, PollFlags::IN)];
        let ended = elapsed();
        let rest = (began + PACE).max(ended + PAUSE) - ended;
        let mut is_woken = sleep(&mut wake, Some(rest));
        let due = match (self.side.due(), self.socket.fd()) {
            (_, None) => Some(began + CONNECT_EVERY),
            (Due::Never, Some(_)) => None,
            (Due::At(at), Some(_)) => Some(at),
        };
        let rest = due.map(|at| at.saturating_sub(elapsed()));
        if !is_woken && rest != Some(0) {
            let is_off = matches!(self.side, Side::Off);
            is_woken = match self.socket.fd().filter(|_| !is_off) {
                None => sleep(&mut wake, rest),
                Some(socket) => {
                    let socket = PollFd::from_borrowed_fd(socket, PollFlags::IN);
                    let [wake] = wake;
                    let mut both = [wake, socket];
                    sleep(&mut both, rest);
                    !both[0].revents().is_empty()
                }
            };
        }
        if is_woken {
            // The commands themselves lie in the channel.
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
    }
}

/// Waits for so many nanoseconds at most; true if one of them is ready.
fn sleep(fds: &mut [PollFd<'_>], ns: Option<u64>) -> bool {
    let timeout = ns.map(|ns| Timespec {
        tv_sec: (ns / 1_000_000_000).cast_signed(),
        tv_nsec: (ns % 1_000_000_000).cast_signed(),
    });
    poll(fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}
