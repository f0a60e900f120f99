//! A group at work: the machine's actions carried out.

use std::{
    mem::{Discriminant, discriminant},
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::time::{ClockId, clock_gettime};

use super::{
    Action, Addresses, Clash, Convention, EncodeError, Event, Expected, GroupSetup, Heard, Machine,
    Nanos, Packet, PacketError, Report, Settings, StartError, State,
    advert::Advert,
    announcer::Announcer,
    limiter::Limiter,
    peek_vrid,
    socket::{Buffer, Channel, Delivery, GROUP, GROUP6, Incoming, MOST_WAITING, Route},
    status::Live,
};
use crate::datapath::Lease;

/// Announcements in one turn: there may be thousands of addresses, and other things to do.
const ANNOUNCED_AT_ONCE: usize = 64;

/// Nanoseconds of the clock that leases are read against.
pub fn clock() -> Nanos {
    let now = clock_gettime(ClockId::Monotonic);
    // It counts from when the machine started, so it isn't negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// One group, with its socket.
pub struct Group {
    number: usize,
    vrid: u8,
    convention: Convention,
    route: Route,
    settings: Settings,
    machine: Machine,
    channel: Channel,
    advert: Advert,
    addresses: Addresses,
    announcing: Announcing,
    lease: Lease,
    timer: Option<Nanos>,
    clashes: Limiter<Discriminant<Clash>>,
    refusals: Limiter<usize>,
    live: Live,
    changed: bool,
}

/// How far the announcing of all addresses has come.
#[derive(Debug, Default)]
struct Announcing {
    next: usize,
    left: usize,
}

impl Group {
    /// The group with that number; its socket is open.
    ///
    /// # Errors
    /// It can't be, or no advertisement can carry its addresses.
    pub fn open(number: usize, setup: GroupSetup) -> Result<Self, StartError> {
        let GroupSetup {
            name,
            interface,
            ifindex,
            vrid,
            settings,
            convention,
            peers,
            addresses,
            lease,
        } = setup;
        let route = Route {
            interface,
            address: settings.address,
            peers,
        };
        let channel = Channel::open(&route, ifindex).map_err(|source| StartError::Socket {
            group: name.clone(),
            source,
        })?;
        let advertised = addresses.advertised.clone();
        let advert =
            write(vrid, &settings, advertised, &channel, convention).map_err(|source| {
                StartError::Addresses {
                    group: name,
                    source,
                }
            })?;
        Ok(Self {
            number,
            vrid,
            convention,
            route,
            machine: Machine::new(settings.clone()),
            live: Live::new(settings.priority.get()),
            settings,
            channel,
            advert,
            addresses,
            announcing: Announcing::default(),
            lease,
            timer: None,
            clashes: Limiter::new(),
            refusals: Limiter::new(),
            changed: true,
        })
    }

    /// What the node is to it.
    pub fn state(&self) -> State {
        self.machine.state()
    }

    /// When something is due.
    pub fn timer(&self) -> Option<Nanos> {
        self.timer
    }

    /// What it is doing.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Whether that has changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Hands `event` to the machine and does what it says.
    pub fn on(&mut self, event: Event, reports: &mut Vec<Report>) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            for action in self.machine.on(event, clock()) {
                let answer = self.carry_out(action, reports);
                next = answer.or(next);
            }
        }
        self.live.priority = self.machine.priority();
        self.changed = true;
    }

    /// What was due by `time`; all that was received until then has been handed over.
    pub fn on_time(&mut self, time: Nanos, reports: &mut Vec<Report>) {
        let Some(due) = self.timer.filter(|&due| due <= time) else {
            return;
        };
        self.timer = None;
        let active = self.state() == State::Active;
        self.on(Event::Timer, reports);
        if active {
            self.live.latest = self.live.latest.max(clock() - due);
        }
    }

    /// Takes what was waiting on the socket when this began; says how many that was.
    pub fn receive(&mut self, buffer: &mut Buffer, reports: &mut Vec<Report>) -> usize {
        for count in 0..MOST_WAITING {
            let Some(incoming) = self.channel.receive(buffer) else {
                return count;
            };
            let from = incoming.from;
            match self.judge(incoming) {
                Some(Ok(packet)) => self.heard(from, packet, reports),
                Some(Err(error)) => self.refuse(from, error, reports),
                None => {}
            }
        }
        MOST_WAITING
    }

    /// The link has come up or gone down.
    pub fn link(&mut self, up: bool, reports: &mut Vec<Report>) {
        // Deleted and made again, it is another interface of the same name.
        if up
            && let Some(ifindex) = self.channel.replaced(&self.route.interface)
            && let Ok(channel) = Channel::open(&self.route, ifindex)
        {
            self.channel = channel;
        }
        self.on(Event::Link(up), reports);
    }

    /// The configuration has changed.
    pub fn reconfigure(&mut self, settings: Settings, reports: &mut Vec<Report>) {
        self.live.configured_priority = settings.priority.get();
        self.settings = settings.clone();
        self.on(Event::Reconfigure(settings), reports);
    }

    /// Other addresses. If no advertisement can carry them, what is advertised stays.
    pub fn set_addresses(&mut self, addresses: Addresses) {
        let advertised = addresses.advertised.clone();
        let (vrid, convention) = (self.vrid, self.convention);
        if let Ok(advert) = write(vrid, &self.settings, advertised, &self.channel, convention) {
            self.advert = advert;
        }
        self.addresses = addresses;
        // All of them, if the others were being announced.
        if self.announcing.left > 0 {
            self.announce();
        }
    }

    /// Goes on announcing; says whether more is left.
    pub fn announce_some(&mut self, announcer: &Announcer) -> bool {
        for _ in 0..ANNOUNCED_AT_ONCE.min(self.announcing.left) {
            // By now this process may have been stopped for a while.
            if clock() >= self.lease.deadline() {
                self.announcing.left = 0;
                break;
            }
            let all = &self.addresses.announced;
            let announced = all[self.announcing.next % all.len()];
            let done = announcer.announce(announced.address, announced.ifindex);
            self.live.announced += u64::from(done.is_ok());
            self.announcing.next = (self.announcing.next + 1) % all.len();
            self.announcing.left -= 1;
            self.changed = true;
        }
        self.announcing.left > 0
    }

    /// Carries out an action; gives what is to be told to the machine then.
    fn carry_out(&mut self, action: Action, reports: &mut Vec<Report>) -> Option<Event> {
        let group = self.number;
        match action {
            Action::Send { priority } => return Some(self.send(priority)),
            Action::Become(state, reason) => {
                self.live.became(state, reason);
                reports.push(Report::Became {
                    group,
                    state,
                    reason,
                });
            }
            Action::Announce => self.announce(),
            Action::HoldUntil(deadline) => self.lease.hold_until(deadline),
            Action::Release => self.lease.release(),
            Action::SetTimer(timer) => self.timer = timer,
            Action::Clash(from, clash) => {
                self.live.clashed(from, clash);
                let kind = discriminant(&clash);
                if self.clashes.admits(from, kind, clock()) {
                    reports.push(Report::Clash { group, from, clash });
                }
            }
        }
        None
    }

    fn send(&mut self, priority: u8) -> Event {
        let messages = self.advert.messages(priority, self.settings.interval);
        let delivery = messages.map_or(Delivery::Failed, |messages| self.channel.send(messages));
        match delivery {
            Delivery::Sent => {
                self.live.sent += 1;
                Event::Sent
            }
            Delivery::Failed => Event::SendFailed,
        }
    }

    /// Each address once, from now on.
    fn announce(&mut self) {
        self.announcing.left = self.addresses.announced.len();
    }

    /// `None`: it is of another group.
    fn judge(&self, incoming: Incoming<'_>) -> Option<Result<Packet, PacketError>> {
        let received = match incoming.packet {
            Ok(received) => received,
            Err(error) => return Some(Err(error)),
        };
        if peek_vrid(received.message).is_some_and(|vrid| vrid != self.vrid) {
            return None;
        }
        let ours = match (self.channel.is_multicast(), self.route.address) {
            (true, IpAddr::V4(_)) => IpAddr::from(GROUP),
            (true, IpAddr::V6(_)) => GROUP6.into(),
            (false, address) => address,
        };
        if received.destination != ours {
            let multicast = received.destination.is_multicast();
            return Some(Err(PacketError::Destination { multicast }));
        }
        if !self.channel.is_multicast() && !self.route.peers.contains(&received.source) {
            return Some(Err(PacketError::Stranger));
        }
        let expected = Expected {
            version: self.settings.interval.version(),
            vrid: self.vrid,
            convention: self.convention,
        };
        Some(Packet::decode(&received, &expected))
    }

    fn heard(&mut self, from: IpAddr, packet: Packet, reports: &mut Vec<Report>) {
        let (priority, interval) = (packet.priority, packet.interval);
        self.live.received += 1;
        let same_addresses = self.advert.has(packet.addresses);
        let heard = Heard {
            from,
            priority,
            interval,
            same_addresses,
        };
        self.on(Event::Advert(heard), reports);
        if self.state() == State::Standby && from != self.settings.address {
            self.live.active = (priority > 0).then_some((from, priority));
        }
    }

    fn refuse(&mut self, from: IpAddr, error: PacketError, reports: &mut Vec<Report>) {
        self.live.discarded[error.number()] += 1;
        self.changed = true;
        if self.refusals.admits(from, error.number(), clock()) {
            let group = self.number;
            reports.push(Report::Refused { group, from, error });
        }
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

fn write(
    vrid: u8,
    settings: &Settings,
    advertised: Vec<IpAddr>,
    channel: &Channel,
    convention: Convention,
) -> Result<Advert, EncodeError> {
    let destinations = channel.destinations().collect();
    let (interval, source) = (settings.interval, settings.address);
    Advert::new(
        (vrid, interval),
        advertised,
        source,
        destinations,
        convention,
    )
}
