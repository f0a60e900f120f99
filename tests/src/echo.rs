//! A server that sends each datagram back (RFC 862), and its client.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    machine::come_first,
    netns::Namespace,
    wait::{eventually, slowness},
};

/// How often the server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// A datagram that isn't back by then is sent again.
const AGAIN: Duration = Duration::from_millis(300);
/// No answer at all by then is a failure.
const PATIENCE: Duration = Duration::from_secs(5);

/// The server, until it is dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it on `host`.
    pub fn start(host: &Namespace, at: SocketAddr) -> Result<Self> {
        Self::begin(host, at, || {})
    }

    /// The same, for one whose answers are timed: it doesn't wait for a CPU that others use.
    pub fn prompt(host: &Namespace, at: SocketAddr) -> Result<Self> {
        Self::begin(host, at, || {
            // Without it figures are only coarser.
            let _ = come_first();
        })
    }

    fn begin(host: &Namespace, at: SocketAddr, ready: fn()) -> Result<Self> {
        let socket = host
            .run(|| UdpSocket::bind(at))
            .with_context(|| format!("cannot serve UDP at {at}"))?;
        socket.set_read_timeout(Some(LOOK))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let worker = std::thread::spawn(move || {
            ready();
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Ok(Self {
            stop,
            worker: Some(worker),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Sends `length` bytes from `host` to an echo server until they come back, and
/// checks that they are the same.
pub fn ask(host: &Namespace, peer: SocketAddr, length: usize) -> Result<()> {
    let own: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = host.run(|| UdpSocket::bind(own))?;
    host.run(|| socket.connect(peer))?;
    socket.set_read_timeout(Some(AGAIN * slowness()))?;
    let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let mut buffer = vec![0; length + 1];
    let what = format!("{length} bytes come back from {peer}");
    let got = eventually(PATIENCE, &what, || {
        socket.send(&sent)?;
        match socket.recv(&mut buffer) {
            Ok(got) => Ok(Some(got)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    })?;
    ensure!(buffer[..got] == sent, "other bytes came back from {peer}");
    Ok(())
}
