//! A thread that does the same thing again and again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::machine::come_first;

/// The thread, until this is dropped. It comes before others: it does little, and that in time.
#[derive(Debug)]
pub struct Pulse {
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Pulse {
    /// Does it in every interval of that length. Intervals that have passed unused are
    /// left out.
    pub fn every(interval: Duration, mut work: impl FnMut() + Send + 'static) -> Self {
        let mut next = Instant::now();
        Self::always(move || {
            work();
            let now = Instant::now();
            next = (next + interval).max(now);
            thread::sleep(next - now);
        })
    }

    /// Does it all the time: it has to wait by itself.
    pub fn always(mut work: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let worker = thread::spawn(move || {
            // Without it figures are only coarser.
            let _ = come_first();
            while !stopped.load(Ordering::Relaxed) {
                work();
            }
        });
        Self {
            stop,
            worker: Some(worker),
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}
