//! CPUs that stand still. A guest's do when its host has none for it, and any does while the kernel
//! loads a program: no process keeps its times then.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::machine::{come_before_the_product, cpus, pin_to};

/// How often a CPU is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// What is worth noting.
const NOTED: Duration = Duration::from_millis(20);

/// A thread on each CPU, until it is dropped. They come before the product's: that one of those
/// keeps a CPU to itself is no excuse.
#[derive(Debug)]
pub struct Stalls {
    cpus: Vec<Arc<Mutex<Watch>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What is known of a CPU.
#[derive(Debug)]
struct Watch {
    /// When it last ran the thread.
    last: Instant,
    /// Until when it had not, and for how long.
    stalls: Vec<(Instant, Duration)>,
}

impl Watch {
    fn look(&mut self, now: Instant) {
        let stall = now - self.last;
        if stall >= NOTED {
            self.stalls.push((now, stall));
        }
        self.last = now;
    }

    /// The one that may still go on counts too.
    fn longest(&self, since: Instant, now: Instant) -> Duration {
        let ended = self.stalls.iter().filter(|(end, _)| *end >= since);
        let ended = ended.map(|(_, stall)| *stall);
        ended
            .max()
            .unwrap_or_default()
            .max(now.saturating_duration_since(self.last))
    }
}

impl Stalls {
    /// Begins to watch all CPUs that this process may use.
    pub fn watch() -> Result<Self> {
        let mut stalls = Self {
            cpus: Vec::new(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for cpu in cpus()? {
            let watch = Arc::new(Mutex::new(Watch {
                last: Instant::now(),
                stalls: Vec::new(),
            }));
            stalls.cpus.push(Arc::clone(&watch));
            let stop = Arc::clone(&stalls.stop);
            stalls.threads.push(thread::spawn(move || {
                // Elsewhere it misses some, which excuses less. Without the priority it waits
                // for others, but then the product does so too.
                let _ = pin_to(cpu);
                let _ = come_before_the_product();
                while !stop.load(Ordering::Relaxed) {
                    lock(&watch).look(Instant::now());
                    thread::sleep(LOOK);
                }
            }));
        }
        Ok(stalls)
    }

    /// The longest that any CPU stood still, of those that did so since then.
    pub fn longest(&self, since: Instant) -> Duration {
        let longest = self.cpus.iter().map(|cpu| {
            let watch = lock(cpu);
            watch.longest(since, Instant::now())
        });
        longest.max().unwrap_or_default()
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}
