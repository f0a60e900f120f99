//! A TCP server that says who it is, and then repeats what it hears.
//!
//! It begins with one byte, its number. Each message of [`MESSAGE`] bytes comes back with
//! that byte before it. When the client has no more to say, it closes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::sleep,
};

use crate::netns::Namespace;

/// The length of a message, in bytes.
pub const MESSAGE: usize = 8;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// The server, until it is dropped.
#[derive(Debug)]
pub struct Parrot {
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Parrot {
    /// Starts it on `host`, and returns when it listens.
    pub fn start(host: &Namespace, at: SocketAddr, number: u8) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (tell, told) = std::sync::mpsc::channel();
        let work = move || {
            let served = own_files().map_err(Into::into).and_then(|()| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let listener = listen(at)?;
                    let _ = tell.send(Ok(()));
                    tokio::select! {
                        () = end_of(&stopped) => Ok(()),
                        error = accept(&listener, number) => Err(error),
                    }
                })
            });
            if let Err(error) = served {
                eprintln!("server {number}: {error}");
                let _ = tell.send(Err(error));
            }
        };
        // A thread is born in its parent's namespace.
        let worker = host.run(|| std::thread::spawn(work));
        let listens = told.recv().context("the server ended")?;
        listens.map_err(|error| anyhow!("server {number} at {at}: {error}"))?;
        Ok(Self {
            stop,
            worker: Some(worker),
        })
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Gives the calling thread a table of open files of its own: a process may not have as
/// many as all servers together need.
fn own_files() -> rustix::io::Result<()> {
    // SAFETY: what the calling thread opens from here on stays with it, and it closes no
    // file that it was not the one to open.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }
}

/// Waits until the server is to end. Nobody else can wake its thread: that needs a file of
/// the thread's own.
async fn end_of(stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        sleep(LOOK).await;
    }
}

fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections of a server before this one may linger.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Serves until it can't.
async fn accept(listener: &TcpListener, number: u8) -> std::io::Error {
    loop {
        match listener.accept().await {
            // How a conversation ended is the client's to judge.
            Ok((stream, _)) => drop(tokio::spawn(repeat(stream, number))),
            Err(error) => return error,
        }
    }
}

async fn repeat(mut stream: TcpStream, number: u8) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&[number]).await?;
    let mut answer = [number; 1 + MESSAGE];
    while stream.read_exact(&mut answer[1..]).await.is_ok() {
        stream.write_all(&answer).await?;
    }
    Ok(())
}
