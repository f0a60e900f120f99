//! Clients with data flowing: some that stay, and a steady stream of newcomers.
//!
//! They talk to [`crate::parrot`]s: each message comes back with the server's number, so
//! that a connection that went astray shows. Everything is noted with its time, and judged
//! later.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::LocalSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::clock::Clock;
use crate::{netns::Namespace, parrot::MESSAGE};

/// Who isn't connected by then gives up.
pub const CONNECT: Duration = Duration::from_secs(3);
/// Connections of those who stay that are opened at the same time.
const AT_ONCE: usize = 32;
/// Messages of a newcomer.
const MESSAGES: usize = 5;

/// Who connects.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom to.
    pub service: SocketAddr,
    /// Their addresses, taken in turn.
    pub addresses: Vec<Ipv4Addr>,
    /// How many stay until the end.
    pub staying: usize,
    /// From an echo to the next message of the same connection.
    pub pause: Duration,
    /// From one newcomer to the next; each stays for five messages.
    pub newcomers: Duration,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It hasn't.
    Open,
    /// In order, after all that was to be said.
    Done,
    /// The reason, and when.
    Broken(Duration, String),
}

/// One connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Whether it was to stay until the end.
    pub stays: bool,
    /// When it was asked for.
    pub begun: Duration,
    /// When it was established.
    pub established: Option<Duration>,
    /// When the message was sent whose echo is still out, or the end that isn't answered yet.
    pub waiting: Option<Duration>,
    /// When each echo arrived.
    pub heard: Vec<Duration>,
    /// How it ended.
    pub end: End,
}

/// Clients at work; they leave when this is dropped.
#[derive(Debug)]
pub struct Load {
    log: Arc<Mutex<Vec<Connection>>>,
    stop: watch::Sender<bool>,
    worker: Option<JoinHandle<io::Result<()>>>,
}

impl Load {
    /// Sends them to `client`.
    pub fn start(client: &Namespace, plan: Plan, clock: Clock) -> Result<Self> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = watch::channel(false);
        let notes = Arc::clone(&log);
        let worker = client.spawn(move || {
            let clients = Rc::new(Clients {
                plan,
                clock,
                log: notes,
                doors: Semaphore::new(AT_ONCE),
            });
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            LocalSet::new().block_on(&runtime, clients.all(stopped));
            Ok(())
        })?;
        Ok(Self {
            log,
            stop,
            worker: Some(worker),
        })
    }

    /// Looks at the connections until now, in the order of their beginning.
    pub fn look<T>(&self, look: impl FnOnce(&[Connection]) -> T) -> T {
        look(&lock(&self.log))
    }

    /// Ends it, and tells of all connections.
    pub fn finish(mut self) -> Result<Vec<Connection>> {
        self.stop.send_replace(true);
        let worker = self.worker.take().context("already joined")?;
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(std::mem::take(&mut lock(&self.log)))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn lock(log: &Mutex<Vec<Connection>>) -> MutexGuard<'_, Vec<Connection>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Clients {
    plan: Plan,
    clock: Clock,
    log: Arc<Mutex<Vec<Connection>>>,
    doors: Semaphore,
}

impl Clients {
    async fn all(self: Rc<Self>, mut stopped: watch::Receiver<bool>) {
        for _ in 0..self.plan.staying {
            tokio::task::spawn_local(Rc::clone(&self).client(true));
        }
        let mut arrivals = interval(self.plan.newcomers);
        arrivals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                _ = arrivals.tick() => {}
            }
            tokio::task::spawn_local(Rc::clone(&self).client(false));
        }
    }

    /// A client from its first to its last packet.
    async fn client(self: Rc<Self>, stays: bool) {
        let door = match stays {
            true => self.doors.acquire().await.ok(),
            false => None,
        };
        let number = {
            let mut log = lock(&self.log);
            log.push(Connection {
                stays,
                begun: self.clock.now(),
                established: None,
                waiting: None,
                heard: Vec::new(),
                end: End::Open,
            });
            log.len() - 1
        };
        let connected = timeout(CONNECT, self.connect(number)).await;
        drop(door);
        let done = match connected {
            Ok(Ok(stream)) => self.converse(number, stream).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("not connected in time")),
        };
        let now = self.clock.now();
        self.note(number, |one| {
            one.end = match done {
                Ok(()) => End::Done,
                Err(error) => End::Broken(now, error.to_string()),
            };
        });
    }

    fn note(&self, number: usize, note: impl FnOnce(&mut Connection)) {
        note(&mut lock(&self.log)[number]);
    }

    async fn connect(&self, number: usize) -> io::Result<TcpStream> {
        let addresses = &self.plan.addresses;
        let socket = TcpSocket::new_v4()?;
        socket.bind((addresses[number % addresses.len()], 0).into())?;
        let stream = socket.connect(self.plan.service).await?;
        stream.set_nodelay(true)?;
        // Who leaves at the end leaves nothing behind.
        stream.set_zero_linger()?;
        let now = self.clock.now();
        self.note(number, |one| one.established = Some(now));
        Ok(stream)
    }

    async fn converse(&self, number: usize, mut stream: TcpStream) -> io::Result<()> {
        let server = stream.read_u8().await?;
        let (stays, mut count) = (lock(&self.log)[number].stays, 0);
        while stays || count < MESSAGES {
            // So that not all speak at the same time.
            sleep(self.plan.pause).await;
            count += 1;
            let now = self.clock.now();
            self.note(number, |one| one.waiting = Some(now));
            let message = (number as u64) << 32 | count as u64;
            let (by, heard) = echo(&mut stream, message).await?;
            let now = self.clock.now();
            self.note(number, |one| {
                one.waiting = None;
                one.heard.push(now);
            });
            if by != server || heard != message {
                let what = format!("{by} said {heard:x} in the place of {server}, {message:x}");
                return Err(io::Error::other(what));
            }
        }
        let now = self.clock.now();
        self.note(number, |one| one.waiting = Some(now));
        stream.shutdown().await?;
        match stream.read(&mut [0]).await? {
            0 => Ok(()),
            _ => Err(io::Error::other("more than was asked for")),
        }
    }
}

async fn echo(stream: &mut TcpStream, message: u64) -> io::Result<(u8, u64)> {
    const { assert!(MESSAGE == size_of::<u64>()) };
    stream.write_u64(message).await?;
    let mut answer = [0; 1 + MESSAGE];
    stream.read_exact(&mut answer).await?;
    let [by, heard @ ..] = answer;
    Ok((by, u64::from_be_bytes(heard)))
}
