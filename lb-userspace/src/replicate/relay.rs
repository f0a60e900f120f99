//! A bad network on the loopback interface, for tests: a relay between two addresses.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::simulation::Faults;

/// Passes datagrams on, or not, or twice, or later, until it is dropped.
pub(super) struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// For each end the socket that it takes for its peer.
    sockets: [UdpSocket; 2],
    /// Where each end listens.
    ends: [SocketAddr; 2],
    faults: Mutex<Faults>,
    /// To which end, and what.
    recorded: Mutex<Vec<(usize, Vec<u8>)>>,
    stop: AtomicBool,
}

impl Relay {
    /// Between `ends`, which take `faces` for their peers.
    pub(super) fn new(ends: [SocketAddr; 2], faces: [SocketAddr; 2], seed: u64) -> Self {
        let sockets = faces.map(|face| {
            let socket = UdpSocket::bind(face).expect("a free address");
            socket.set_nonblocking(true).expect("a socket");
            socket
        });
        let shared = Arc::new(Shared {
            sockets,
            ends,
            faults: Mutex::default(),
            recorded: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let its = Arc::clone(&shared);
        let thread = std::thread::spawn(move || its.run(seed | 1));
        Relay {
            shared,
            thread: Some(thread),
        }
    }

    pub(super) fn set(&self, faults: Faults) {
        *self.shared.faults.lock().expect("not poisoned") = faults;
    }

    /// Everything that came, and for which end it was.
    pub(super) fn recorded(&self) -> Vec<(usize, Vec<u8>)> {
        self.shared.recorded.lock().expect("not poisoned").clone()
    }

    /// Sends something to an end as its peer would.
    pub(super) fn inject(&self, end: usize, datagram: &[u8]) {
        self.shared.send(end, datagram);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn send(&self, end: usize, datagram: &[u8]) {
        // To an end that isn't there it is lost, as anywhere.
        let _ = self.sockets[end].send_to(datagram, self.ends[end]);
    }

    fn run(&self, mut random: u64) {
        let mut below = move |many: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) % many.max(1)
        };
        let mut way: BTreeMap<(Instant, u64), (usize, Vec<u8>)> = BTreeMap::new();
        let (mut buffer, mut count) = ([0; 2_048], 0);
        while !self.stop.load(Ordering::Relaxed) {
            let faults = *self.faults.lock().expect("not poisoned");
            for (from, socket) in self.sockets.iter().enumerate() {
                while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                    let datagram = &buffer[..length];
                    let mut recorded = self.recorded.lock().expect("not poisoned");
                    recorded.push((1 - from, datagram.to_vec()));
                    let copies = 1 + u32::from(below(100) < u64::from(faults.doubled));
                    for _ in 0..copies {
                        if below(100) < u64::from(faults.lost) {
                            continue;
                        }
                        let delay = Duration::from_micros(below(faults.delay * 1_000 + 1));
                        count += 1;
                        way.insert(
                            (Instant::now() + delay, count),
                            (1 - from, datagram.to_vec()),
                        );
                    }
                }
            }
            while let Some(first) = way.first_entry()
                && first.key().0 <= Instant::now()
            {
                let (end, datagram) = first.remove();
                self.send(end, &datagram);
            }
            std::thread::park_timeout(Duration::from_micros(100));
        }
    }
}
