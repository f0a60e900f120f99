//! Replication as a thread: the state machines beside a socket and a clock.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Sender as Channel, SyncSender},
    },
    thread::JoinHandle,
    time::Duration,
};

use lb_common::{
    abi::{Bucket, PortBucket},
    flow::{Tick, Timeouts},
};
use rustix::event::{EventfdFlags, eventfd};
use thiserror::Error;

use super::{
    ClusterKey, Limits, Role, Roster, Status, Told, socket::Socket, wire::Terms, worker::Worker,
};
use crate::datapath::memory::Shared;

/// The longest wait for the thread to take a roster, or for the standby to have caught up: many times
/// what either takes.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// What replication works with.
pub struct Setup {
    /// The secret that both nodes share.
    pub key: ClusterKey,
    /// This node's address and port.
    pub listen: SocketAddr,
    /// The peer's: what it listens on.
    pub peer: SocketAddr,
    /// How this node's tables are made.
    pub terms: Terms,
    /// The flow table's.
    pub timeouts: Timeouts,
    /// How much, and how often.
    pub limits: Limits,
    /// What this node's numbers mean.
    pub roster: Roster,
    /// The flow table.
    pub flows: Arc<Shared<Bucket>>,
    /// `full-nat`'s ports.
    pub ports: Arc<Shared<PortBucket>>,
    /// Reads the data plane's coarse clock.
    pub tick: Box<dyn Fn() -> Tick + Send>,
}

/// Why replication can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address can't be had.
    #[error(
        "replication can't listen on {listen}: {source}; `listen` must be an address of this node, \
         and a UDP port that nobody else uses"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// One of them is IPv4, the other IPv6.
    #[error(
        "replication can't reach {peer} from {listen}: `listen` and `peer` must be of the same IP version"
    )]
    Versions {
        /// This node's.
        listen: SocketAddr,
        /// The peer's.
        peer: SocketAddr,
    },
    /// No thread, or nothing to wake it by.
    #[error("replication can't start its thread: {0}")]
    Thread(io::Error),
}

/// What the thread is asked for.
pub(super) enum Command {
    Role(Role),
    /// Answered when the roster is used for all that is sent from then on.
    Roster(Roster, SyncSender<()>),
    /// Answered when the standby knows all that had changed by then, or there is none.
    CatchUp(SyncSender<()>),
    Stop,
}

/// Replicates until it is stopped or dropped. The thread sleeps while there is nothing to do.
pub struct Replicator {
    commands: Channel<Command>,
    wake: Arc<OwnedFd>,
    status: Arc<Mutex<Status>>,
    thread: Option<JoinHandle<()>>,
}

impl Replicator {
    /// Starts the thread, in the role [`Role::Off`]. It calls `told`, which must not wait for anything.
    ///
    /// # Errors
    ///
    /// When the address can't be had. A peer to which there is no route yet is no error.
    pub fn start(setup: Setup, told: impl Fn(Told) + Send + 'static) -> Result<Self, StartError> {
        let (listen, peer) = (setup.listen, setup.peer);
        if listen.is_ipv4() != peer.is_ipv4() {
            return Err(StartError::Versions { listen, peer });
        }
        let socket =
            Socket::bind(listen, peer).map_err(|source| StartError::Listen { listen, source })?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.map_err(|error| StartError::Thread(error.into()))?);
        let status = Arc::new(Mutex::new(Status::new(peer)));
        let (commands, received) = mpsc::channel();
        let worker = Worker::new(
            setup,
            socket,
            received,
            Arc::clone(&wake),
            Arc::clone(&status),
            Box::new(told),
        );
        let thread = std::thread::Builder::new()
            .name("replicate".into())
            .spawn(move || worker.run())
            .map_err(StartError::Thread)?;
        Ok(Replicator {
            commands,
            wake,
            status,
            thread: Some(thread),
        })
    }

    /// Changes the role, soon. A session of another role ends in order; the same role again changes nothing.
    pub fn set_role(&self, role: Role) {
        self.command(Command::Role(role));
    }

    /// This node's numbers mean something else from now on. To be told before the tables hold entries with new
    /// numbers: so it waits until the thread uses the roster, a millisecond or so.
    pub fn set_roster(&self, roster: Roster) {
        let (done, taken) = mpsc::sync_channel(1);
        self.command(Command::Roster(roster, done));
        // A thread that takes longer doesn't run, and so sends nothing either.
        let _ = taken.recv_timeout(PATIENCE);
    }

    /// The standby is to take over: waits until it knows what has changed until now, some milliseconds, 100 at
    /// most; and for a while it is told of all that changes at once. No wait where there is no standby.
    pub fn catch_up(&self) {
        let (done, caught_up) = mpsc::sync_channel(1);
        self.command(Command::CatchUp(done));
        // One that can't catch up may take over all the same.
        let _ = caught_up.recv_timeout(PATIENCE);
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the session in order, and the thread.
    pub fn stop(self) {}

    fn command(&self, command: Command) {
        // Only a thread that has died doesn't take it, and then there is nobody to tell.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        self.command(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
