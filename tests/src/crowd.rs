//! A crowd of clients that talk to [`crate::parrot`]s through the VIP, some all the time,
//! others for a little while; and a board that says what they found.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{netns::Namespace, parrot::MESSAGE, wait::slowness};

/// What takes longer than this is taken for broken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that are opened at the same time, at first.
const AT_ONCE: usize = 64;
/// How many echoes those who don't stay wait for.
const SHORT: u64 = 3;

/// Who is in a crowd.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom they connect to.
    pub vip: SocketAddr,
    /// Their addresses, taken in turn.
    pub addresses: Vec<Ipv4Addr>,
    /// How many stay until the end.
    pub stay: usize,
    /// From one message of a client to its next.
    pub pace: Duration,
    /// From one newcomer, who doesn't stay, to the next.
    pub newcomers: Duration,
}

/// What is known of one server.
#[derive(Debug, Default)]
struct Server {
    /// 0 while it may get connections, else a number that tells this time from others.
    closed: AtomicU64,
    /// Twice how often it was removed, and one more while it is being removed.
    removals: AtomicU64,
    /// Connections to it.
    talking: AtomicUsize,
}

/// What the crowd is told and tells.
#[derive(Debug)]
pub struct Board {
    /// By number, which begins with 1.
    servers: Vec<Server>,
    stamps: AtomicU64,
    /// Echoes, by who stays.
    heard: Vec<AtomicU64>,
    newcomers: AtomicU64,
    bereft: AtomicU64,
    broken: Mutex<Vec<String>>,
}

impl Board {
    fn new(servers: u8, stay: usize) -> Self {
        let server = |_| Server::default();
        Self {
            servers: (0..=servers).map(server).collect(),
            stamps: AtomicU64::new(0),
            heard: (0..stay).map(|_| AtomicU64::new(0)).collect(),
            newcomers: AtomicU64::new(0),
            bereft: AtomicU64::new(0),
            broken: Mutex::new(Vec::new()),
        }
    }

    /// From now on the server may get connections.
    pub fn open(&self, server: u8) {
        self.server(server).closed.store(0, Relaxed);
    }

    /// What begins from now on must not get to the server.
    pub fn close(&self, server: u8) {
        let stamp = self.stamps.fetch_add(1, Relaxed) + 1;
        self.server(server).closed.store(stamp, Relaxed);
    }

    /// Has `work` remove the server: connections to it that have begun may break, and so may those
    /// that begin meanwhile, at any time.
    pub fn remove(&self, server: u8, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let removals = &self.server(server).removals;
        removals.fetch_add(1, Relaxed);
        work()?;
        self.close(server);
        removals.fetch_add(1, Relaxed);
        Ok(())
    }

    /// How many connections are at the server.
    pub fn talking(&self, server: u8) -> usize {
        self.server(server).talking.load(Relaxed)
    }

    /// Echoes until now, for each who stays.
    pub fn heard(&self) -> Vec<u64> {
        self.heard.iter().map(|heard| heard.load(Relaxed)).collect()
    }

    /// Connections of newcomers that ended well.
    pub fn newcomers(&self) -> u64 {
        self.newcomers.load(Relaxed)
    }

    /// Connections that ended because their server was removed.
    pub fn bereft(&self) -> u64 {
        self.bereft.load(Relaxed)
    }

    /// Fails if anything went wrong that may not.
    pub fn check(&self) -> Result<()> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let some = broken.iter().take(8).cloned().collect::<Vec<_>>();
        ensure!(
            broken.is_empty(),
            "{} connections broke:\n{}",
            broken.len(),
            some.join("\n")
        );
        Ok(())
    }

    fn server(&self, number: u8) -> &Server {
        &self.servers[usize::from(number)]
    }

    fn noted(&self, what: fn(&Server) -> &AtomicU64) -> Vec<u64> {
        let servers = self.servers.iter();
        servers.map(|server| what(server).load(Relaxed)).collect()
    }

    fn tell(&self, broken: String) {
        let mut list = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(broken);
    }
}

/// A crowd at work; it ends when it is dropped.
#[derive(Debug)]
pub struct Crowd {
    /// What it tells.
    pub board: Arc<Board>,
    stop: watch::Sender<bool>,
    worker: Option<JoinHandle<Result<()>>>,
}

impl Crowd {
    /// Sends it to `client`. The servers have the numbers 1 to `servers`; all are open.
    pub fn start(client: &Namespace, servers: u8, plan: Plan) -> Result<Self> {
        let board = Arc::new(Board::new(servers, plan.stay));
        let (stop, stopped) = watch::channel(false);
        let talk = Talk {
            board: Arc::clone(&board),
            plan: Arc::new(plan),
            stopped,
        };
        let worker = client.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(talk.all());
            Ok(())
        })?;
        Ok(Self {
            board,
            stop,
            worker: Some(worker),
        })
    }

    /// Lets all end their connections in order, and waits until they have.
    pub fn finish(mut self) -> Result<Arc<Board>> {
        self.stop.send_replace(true);
        let worker = self.worker.take().context("already joined")?;
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Arc::clone(&self.board))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// What each of them knows.
#[derive(Debug, Clone)]
struct Talk {
    board: Arc<Board>,
    plan: Arc<Plan>,
    stopped: watch::Receiver<bool>,
}

impl Talk {
    async fn all(self) {
        let mut tasks = tokio::task::JoinSet::new();
        let doors = Arc::new(Semaphore::new(AT_ONCE));
        for who in 0..self.plan.stay {
            tasks.spawn(self.clone().client(who, Arc::clone(&doors)));
        }
        let mut stopped = self.stopped.clone();
        for who in self.plan.stay.. {
            tokio::select! {
                () = told(&mut stopped) => break,
                () = sleep(self.plan.newcomers) => {}
            }
            // Who stays has come first.
            if doors.available_permits() == AT_ONCE {
                tasks.spawn(self.clone().client(who, Arc::clone(&doors)));
            }
            while tasks.try_join_next().is_some() {}
        }
        tasks.join_all().await;
    }

    /// A client from its first to its last packet.
    async fn client(self, who: usize, doors: Arc<Semaphore>) {
        let stays = who < self.plan.stay;
        let removals = self.board.noted(|server| &server.removals);
        let mut met = None;
        let Err(error) = self.converse(who, &doors, &mut met).await else {
            if !stays {
                self.board.newcomers.fetch_add(1, Relaxed);
            }
            return;
        };
        let now = self.board.noted(|server| &server.removals);
        let at = met.map_or(0, usize::from);
        let removed = |server: usize| now[server] != removals[server] || now[server] % 2 == 1;
        // As long as it hasn't met its server it may have been any of them.
        let is_bereft = match met {
            Some(_) => removed(at),
            None => (0..now.len()).any(removed),
        };
        if is_bereft && !stays {
            self.board.bereft.fetch_add(1, Relaxed);
        } else {
            let kind = if stays { "who stays" } else { "newcomer" };
            self.board
                .tell(format!("{kind} {who} at server {at}: {error:#}"));
        }
    }

    async fn converse(&self, who: usize, doors: &Semaphore, met: &mut Option<u8>) -> Result<()> {
        let (mut stream, number) = {
            let stays = who < self.plan.stay;
            let _door = match stays {
                true => Some(doors.acquire().await?),
                false => None,
            };
            if *self.stopped.borrow() {
                return Ok(());
            }
            self.meet(who).await?
        };
        *met = Some(number);
        let _guest = Guest::at(self.board.server(number));
        for count in 1.. {
            let mut stopped = self.stopped.clone();
            tokio::select! {
                () = told(&mut stopped) => break,
                () = sleep(self.plan.pace) => {}
            }
            let message = (who as u64) << 32 | count;
            let (said, heard) = in_time("echo", echo(&mut stream, message)).await?;
            ensure!(said == number, "message {count} came back from {said}");
            ensure!(heard == message, "message {count} came back as {heard:x}");
            match self.board.heard.get(who) {
                Some(heard) => heard.store(count, Relaxed),
                None if count == SHORT => break,
                None => {}
            }
        }
        in_time("end", end(&mut stream)).await
    }

    /// Connects and hears who is there.
    async fn meet(&self, who: usize) -> Result<(TcpStream, u8)> {
        let closed = self.board.noted(|server| &server.closed);
        let addresses = &self.plan.addresses;
        let socket = TcpSocket::new_v4()?;
        socket.bind((addresses[who % addresses.len()], 0).into())?;
        let mut stream = in_time("connect", socket.connect(self.plan.vip)).await?;
        stream.set_nodelay(true)?;
        let number = in_time("name", stream.read_u8()).await?;
        let at = usize::from(number);
        ensure!(at < closed.len(), "there is no server {number}");
        let now = self.board.server(number).closed.load(Relaxed);
        ensure!(
            closed[at] == 0 || closed[at] != now,
            "server {number} is closed, and got it"
        );
        Ok((stream, number))
    }
}

/// A connection at a server.
struct Guest<'a>(&'a Server);

impl<'a> Guest<'a> {
    fn at(server: &'a Server) -> Self {
        server.talking.fetch_add(1, Relaxed);
        Self(server)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.talking.fetch_sub(1, Relaxed);
    }
}

/// Waits until the crowd is to end.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn echo(stream: &mut TcpStream, message: u64) -> std::io::Result<(u8, u64)> {
    const { assert!(MESSAGE == size_of::<u64>()) };
    stream.write_u64(message).await?;
    Ok((stream.read_u8().await?, stream.read_u64().await?))
}

/// Ends a connection: the server has to say the same.
async fn end(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    match stream.read(&mut [0]).await? {
        0 => Ok(()),
        _ => Err(std::io::Error::other("more than was asked for")),
    }
}

async fn in_time<T>(what: &str, work: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    let limit = PATIENCE * slowness();
    timeout(limit, work)
        .await
        .with_context(|| format!("{what}: nothing for {limit:?}"))?
        .with_context(|| what.to_owned())
}
