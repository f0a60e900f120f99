//! Connections that live long: a slow download, and idle ones that are used again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    http::{After, Connection},
    interrupt,
    netns::Namespace,
    nginx,
    wait::eventually,
};

/// No byte for this long means that the connection is dead.
const PATIENCE: Duration = Duration::from_secs(4);

/// A download of the web servers' big file, in the background.
#[derive(Debug)]
pub struct Download {
    server: String,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<Result<u64>>>,
}

impl Download {
    /// Starts it, and returns once the first bytes are here.
    pub fn start(client: &Namespace, peer: SocketAddr) -> Result<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let worker = {
            let (received, stop) = (Arc::clone(&received), Arc::clone(&stop));
            client.spawn(move || download(peer, &tell, &received, &stop))?
        };
        let mut download = Self {
            server: String::new(),
            received,
            stop,
            worker: Some(worker),
        };
        match told.recv() {
            Ok(server) => download.server = server,
            // The worker has ended without a word: its error says why.
            Err(_) => {
                download.join()?;
            }
        }
        eventually(PATIENCE, "the download's first bytes arrive", || {
            Ok((download.received() > 0).then_some(()))
        })?;
        Ok(download)
    }

    /// Who serves it.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Bytes so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether it is still under way.
    pub fn running(&self) -> bool {
        self.worker.as_ref().is_some_and(|w| !w.is_finished())
    }

    /// Waits for its end; returns its bytes, or how it broke off. Every byte has
    /// been compared with what the server should have sent.
    pub fn finish(mut self) -> Result<u64> {
        self.join()
    }

    fn join(&mut self) -> Result<u64> {
        let worker = self.worker.take().context("already joined")?;
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn download(
    peer: SocketAddr,
    tell: &mpsc::Sender<String>,
    received: &AtomicU64,
    stop: &AtomicBool,
) -> Result<u64> {
    let mut connection = Connection::open(peer, PATIENCE)?;
    let head = connection.get(nginx::DOWNLOAD, After::Close)?;
    ensure!(
        head.length == nginx::DOWNLOAD_BYTES,
        "a download of {} bytes",
        head.length
    );
    let _ = tell.send(head.server);
    let mut buffer = vec![0; 64 * 1024];
    let mut at = 0;
    while at < head.length && !stop.load(Ordering::Relaxed) {
        interrupt::check()?;
        let count = connection.read(&mut buffer)?;
        ensure!(count > 0, "closed after {at} of {} bytes", head.length);
        for &byte in &buffer[..count] {
            ensure!(byte == nginx::download_byte(at), "byte {at} is wrong");
            at += 1;
        }
        received.store(at, Ordering::Relaxed);
    }
    Ok(at)
}

/// Idle connections, each known to reach one server.
#[derive(Debug)]
pub struct Held(Vec<(Connection, String)>);

impl Held {
    /// Opens `count` connections and makes one request on each.
    pub fn open(client: &Namespace, peer: SocketAddr, count: usize) -> Result<Self> {
        client.run(|| {
            let open = || {
                interrupt::check()?;
                let mut connection = Connection::open(peer, PATIENCE)?;
                let server = ask(&mut connection)?;
                Ok((connection, server))
            };
            (0..count).map(|_| open()).collect::<Result<_>>().map(Self)
        })
    }

    /// Makes another request on each; returns how many were answered by the
    /// server that had answered before.
    pub fn still_with_their_server(&mut self) -> Result<usize> {
        let mut kept = 0;
        for (connection, server) in &mut self.0 {
            interrupt::check()?;
            kept += usize::from(ask(connection).is_ok_and(|now| now == *server));
        }
        Ok(kept)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn ask(connection: &mut Connection) -> Result<String> {
    let head = connection.get("/", After::Keep)?;
    connection.skip(head.length)?;
    Ok(head.server)
}
