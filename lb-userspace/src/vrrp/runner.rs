//! The thread that takes part in VRRP for all groups.

mod flood;
mod mailbox;
mod work;

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use self::{
    mailbox::Mailbox,
    work::{Board, Work},
};
use super::{
    Clash, Convention, EncodeError, GroupStatus, PacketError, Reason, Settings, State,
    announcer::Announcer, group::Group, socket::OpenError, status::Identity,
};
use crate::datapath::Lease;

/// What a group is.
pub struct GroupSetup {
    /// Its name, in errors and status.
    pub name: String,
    /// The interface where its advertisements go.
    pub interface: String,
    /// That interface's number.
    pub ifindex: u32,
    /// Its virtual router, 1 to 255.
    pub vrid: u8,
    /// This node's part.
    pub settings: Settings,
    /// How version 3 over IPv4 is summed up.
    pub convention: Convention,
    /// Unicast peers, of the IP version of this node's address; none: multicast.
    pub peers: Vec<IpAddr>,
    /// What it is all about.
    pub addresses: Addresses,
    /// The deadline that holds them.
    pub lease: Lease,
}

/// The addresses of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Those in advertisements: 1 to 255, of the IP version of this node's address.
    pub advertised: Vec<IpAddr>,
    /// Those that links are told of.
    pub announced: Vec<Announced>,
}

/// An address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The address.
    pub address: IpAddr,
    /// The link's number. The address is announced there, at the link's MAC.
    pub ifindex: u32,
}

/// What the thread is told. Groups are counted from 0 in the order of [`Runner::start`];
/// what is for others does nothing.
#[derive(Debug, Clone)]
pub enum Command {
    /// [`Event::Track`](super::Event::Track).
    Track {
        /// Which group.
        group: usize,
        /// What to take off its priority.
        penalty: u8,
        /// This node can't serve.
        fault: bool,
    },
    /// [`Event::Link`](super::Event::Link).
    Link {
        /// Which group.
        group: usize,
        /// Whether its interface is up.
        up: bool,
    },
    /// [`Event::InSync`](super::Event::InSync), for all groups.
    InSync(bool),
    /// [`Event::HandOver`](super::Event::HandOver).
    HandOver {
        /// Which group.
        group: usize,
    },
    /// [`Event::Reconfigure`](super::Event::Reconfigure).
    Reconfigure {
        /// Which group.
        group: usize,
        /// With the version and the address that it had.
        settings: Settings,
    },
    /// Other addresses, which aren't announced for that alone. Those that no advertisement
    /// can carry leave what is advertised as it was.
    Addresses {
        /// Which group.
        group: usize,
        /// All of its addresses.
        addresses: Addresses,
    },
    /// Leave all groups, orderly.
    Stop,
}

/// What the thread tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// [`Action::Become`](super::Action::Become).
    Became {
        /// Which group.
        group: usize,
        /// What this node is to it now.
        state: State,
        /// Why.
        reason: Reason,
    },
    /// A peer is configured otherwise; of each peer and kind at most once in ten seconds.
    Clash {
        /// Which group.
        group: usize,
        /// Who.
        from: IpAddr,
        /// How.
        clash: Clash,
    },
    /// A packet was discarded; of each sender and kind at most once in ten seconds.
    Refused {
        /// Which group.
        group: usize,
        /// Who sent it, as it says.
        from: IpAddr,
        /// Why.
        error: PacketError,
    },
    /// All groups have been left. Nothing comes after.
    Stopped,
}

/// The thread can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A group has no socket.
    #[error("VRRP group {group}: {source}")]
    Socket {
        /// Its name.
        group: String,
        /// Why.
        source: OpenError,
    },
    /// No advertisement can carry a group's addresses.
    #[error("VRRP group {group}: {source}")]
    Addresses {
        /// Its name.
        group: String,
        /// Why.
        source: EncodeError,
    },
    /// Nothing to announce addresses with.
    #[error("a packet socket to announce addresses with: {0}; it takes root (or CAP_NET_RAW)")]
    Announcer(io::Error),
    /// The system has no room for a thread.
    #[error("starting VRRP: {0}")]
    Thread(io::Error),
}

/// The threads that take part in VRRP: `vrrp`, which does nothing else and waits for nobody, and
/// `vrrp-reports`, which calls whoever wants to know.
///
/// Dropping it ends them as if the process had died: nothing is sent, and the leases run out.
pub struct Runner {
    groups: Vec<Identity>,
    commands: Arc<Mailbox<Order>>,
    board: Arc<Mutex<Board>>,
    reports: Arc<Mailbox<Option<Report>>>,
    threads: Option<[JoinHandle<()>; 2]>,
}

/// What comes to the thread.
enum Order {
    Command(Command),
    /// End at once.
    Die,
}

impl Runner {
    /// Opens the groups' sockets and takes part, in the network namespace of the caller.
    /// `reports` is called in a thread of its own; it must not call [`Runner::stop`].
    ///
    /// # Errors
    /// Says what is missing; then nothing has been started.
    pub fn start(
        groups: Vec<GroupSetup>,
        reports: impl Fn(Report) + Send + 'static,
    ) -> Result<Self, StartError> {
        let identity = |setup: &GroupSetup| Identity {
            name: setup.name.clone(),
            interface: setup.interface.clone(),
            vrid: setup.vrid,
        };
        let identities = groups.iter().map(identity).collect();
        let groups = groups.into_iter().enumerate();
        let groups = groups.map(|(number, setup)| Group::open(number, setup));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        let announcer = Announcer::open().map_err(StartError::Announcer)?;
        let commands = Arc::new(Mailbox::new().map_err(StartError::Thread)?);
        let outbox = Arc::new(Mailbox::new().map_err(StartError::Thread)?);
        let board = Arc::new(Mutex::new(Board::of(&groups)));

        let inbox = Arc::clone(&outbox);
        let relay = spawn("vrrp-reports", move || {
            inbox.each(|report: Option<Report>| report.map(&reports).is_some());
        })?;
        let mut runner = Self {
            groups: identities,
            commands: Arc::clone(&commands),
            board: Arc::clone(&board),
            reports: Arc::clone(&outbox),
            threads: None,
        };
        let work = Work::new(groups, announcer, commands, outbox, board);
        match spawn("vrrp", move || work.run()) {
            Ok(worker) => runner.threads = Some([worker, relay]),
            Err(error) => {
                runner.reports.send(None);
                let _ = relay.join();
                return Err(error);
            }
        }
        Ok(runner)
    }

    /// Tells the thread. Doesn't wait for it.
    pub fn command(&self, command: Command) {
        self.commands.send(Order::Command(command));
    }

    /// What the groups are doing, in their order.
    pub fn status(&self) -> Vec<GroupStatus> {
        let (live, realtime) = {
            let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            (board.groups.clone(), board.realtime)
        };
        let groups = self.groups.iter().zip(&live);
        groups
            .map(|(group, live)| group.status(live, realtime))
            .collect()
    }

    /// Leaves all groups orderly and waits until that is done, which takes as long as a successor
    /// may take to show itself: at most one and a half intervals (in version 2 half of one and a
    /// second). Every report has been made then.
    pub fn stop(mut self) {
        self.command(Command::Stop);
        self.join();
    }

    fn join(&mut self) {
        let Some([worker, relay]) = self.threads.take() else {
            return;
        };
        // If it has panicked, its leases run out.
        let _ = worker.join();
        self.reports.send(None);
        let _ = relay.join();
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.commands.send(Order::Die);
        self.join();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(work).map_err(StartError::Thread)
}
