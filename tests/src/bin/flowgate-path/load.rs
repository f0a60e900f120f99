//! Sending, and counting what arrives meanwhile.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use flowgate_tests::{interrupt, machine::pin_to, wait::eventually};

use crate::{
    bed::Bed,
    frame,
    records::{Arrived, Clients, Dice},
    turn::Turn,
};

/// Frames that are sent by one system call, until it is known how long they take.
const FIRST: u32 = 1 << 13;
/// The same, while flows are made known.
const INTRODUCED: u32 = 1 << 17;
/// The least and the most that are sent by a system call of a measurement, which is all of
/// it mostly: each call waits some 50 ms until the kernel has put the generator into its
/// dispatcher of XDP programs, and taken it out again. That takes no CPU time, but
/// meanwhile other CPUs send alone.
const LEAST: f64 = 4096.0;
const MOST: f64 = 4e6;

/// The frames that a card is sure to take.
const RING: u32 = 128;

/// How long the last frames may be on their way.
const DRAIN: Duration = Duration::from_secs(1);

/// What a measurement came to.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Packets per second that arrived as they should, of all CPUs together: those of a
    /// CPU's sink by the time that they took of this CPU.
    pub pps: f64,
    /// The part of the time that the senders had their CPUs.
    pub had: f64,
    /// Frames that were sent, before the window and in it.
    pub sent: u64,
    /// The share of these that didn't arrive.
    pub lost: f64,
}

/// Sends from each of `cpus` at once, for some time, and counts what arrives in that:
/// frames of one of `flows` clients at random, each CPU its own.
pub fn measure(bed: &mut Bed, cpus: &[usize], flows: u32, time: Duration) -> Result<Window> {
    choose(bed, cpus, Clients::RANDOM, flows)?;
    let bed = &*bed;
    let before = bed.programs.arrived()?;
    let senders = Senders {
        bed,
        count: cpus.len(),
        ready: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        sent: AtomicU64::new(0),
    };
    let parts = thread::scope(|scope| {
        let threads: Vec<_> = cpus
            .iter()
            .map(|&cpu| {
                let senders = &senders;
                scope.spawn(move || senders.run(cpu, time))
            })
            .collect();
        let parts = threads.into_iter().map(|thread| {
            let part = thread.join();
            part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        parts.collect::<Vec<_>>()
    });
    let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
    let sent = senders.sent.into_inner();
    let all = || Ok((right(bed)? - before.right >= sent).then_some(()));
    // What is still on its way then is lost.
    let _ = eventually(DRAIN, "all frames arrive", all);
    interrupt::check()?;
    check_right(bed, before)?;
    Ok(Window {
        pps: parts.iter().map(|part| part.pps).sum(),
        had: parts.iter().map(|part| part.had).fold(1.0, f64::min),
        sent,
        lost: 1.0 - (right(bed)? - before.right) as f64 / sent as f64,
    })
}

fn right(bed: &Bed) -> Result<u64> {
    Ok(bed.programs.arrived()?.right)
}

fn check_right(bed: &Bed, before: Arrived) -> Result<()> {
    let wrong = bed.programs.arrived()?.wrong - before.wrong;
    ensure!(
        wrong == 0,
        "{wrong} frames arrived otherwise than they should"
    );
    Ok(())
}

/// Sends two frames of each client, from all of `cpus`, so that all flows are known.
pub fn introduce(bed: &mut Bed, cpus: &[usize], flows: u32) -> Result<()> {
    for _ in 0..2 {
        choose(bed, cpus, Clients::NEXT, flows)?;
        let bed = &*bed;
        let before = bed.programs.arrived()?;
        for &cpu in cpus {
            on(bed, cpu, || {
                let mut left = flows;
                while left > 0 {
                    interrupt::check()?;
                    let chunk = left.min(if bed.on_cards { RING } else { INTRODUCED });
                    let before = right(bed)?;
                    bed.programs.send(chunk)?;
                    if bed.on_cards {
                        let all = || Ok((right(bed)? - before >= chunk.into()).then_some(()));
                        eventually(DRAIN, "frames arrive", all)?;
                    }
                    left -= chunk;
                }
                Ok(())
            })?;
        }
        eventually(DRAIN, "frames arrive", || {
            check_right(bed, before)?;
            Ok((right(bed)? > before.right).then_some(()))
        })?;
    }
    Ok(())
}

fn choose(bed: &mut Bed, cpus: &[usize], clients: Clients, flows: u32) -> Result<()> {
    let stream = frame::stream(bed.family, bed.ifindex, clients, flows);
    bed.programs.set(stream, frame::length(bed.family), |cpu| {
        let rank = cpus.iter().position(|&one| one == cpu).unwrap_or(0) as u32;
        Dice {
            random: 0x9e37_79b9_7f4a_7c15 ^ u64::from(rank),
            next: 0,
            first: rank * flows,
        }
    })
}

struct Senders<'a> {
    bed: &'a Bed,
    count: usize,
    /// How many of them have begun, or failed.
    ready: AtomicUsize,
    /// How many have measured, or failed.
    done: AtomicUsize,
    sent: AtomicU64,
}

/// What came of one sender.
struct Part {
    pps: f64,
    had: f64,
}

impl Senders<'_> {
    /// Measures once all have begun, and goes on sending until all have measured.
    fn run(&self, cpu: usize, time: Duration) -> Result<Part> {
        self.bed.gen_host.run(|| {
            let begun = Turn::take(cpu, self.count == 1).and_then(|turn| {
                let begin = turn.time();
                self.send(FIRST)?;
                let took = turn.time().saturating_sub(begin);
                let frames = f64::from(FIRST) * time.as_secs_f64() / took.as_secs_f64();
                Ok((turn, frames.clamp(LEAST, MOST) as u32))
            });
            self.ready.fetch_add(1, Ordering::Relaxed);
            let part = begun.and_then(|(turn, chunk)| {
                while self.ready.load(Ordering::Relaxed) < self.count {
                    self.send(FIRST)?;
                }
                Ok((self.measure(cpu, &turn, time, chunk)?, chunk))
            });
            self.done.fetch_add(1, Ordering::Relaxed);
            let (part, chunk) = part.with_context(|| format!("sending on CPU {cpu}"))?;
            while self.done.load(Ordering::Relaxed) < self.count {
                self.send(chunk / 4)?;
            }
            Ok(part)
        })
    }

    fn measure(&self, cpu: usize, turn: &Turn, time: Duration, chunk: u32) -> Result<Part> {
        let bed = self.bed;
        let arrived = || match bed.on_cards {
            // Cards' queues are other CPUs' too.
            true => bed.programs.arrived(),
            false => bed.programs.arrived_on(cpu),
        };
        let before = arrived()?;
        let (wall, own) = (Instant::now(), turn.time());
        while wall.elapsed() < time {
            interrupt::check()?;
            self.send(chunk)?;
        }
        let (wall, own) = (wall.elapsed(), turn.time().saturating_sub(own));
        let arrived = arrived()?.right - before.right;
        if bed.on_cards {
            // The sender's time is only a part of what a packet takes.
            return Ok(Part {
                pps: arrived as f64 / wall.as_secs_f64() / self.count as f64,
                had: 1.0,
            });
        }
        Ok(Part {
            pps: arrived as f64 / own.as_secs_f64(),
            had: own.as_secs_f64() / wall.as_secs_f64(),
        })
    }

    fn send(&self, frames: u32) -> Result<()> {
        self.bed.programs.send(frames)?;
        self.sent.fetch_add(frames.into(), Ordering::Relaxed);
        Ok(())
    }
}

/// Runs `work` on that CPU in the generator's namespace.
fn on<T: Send>(bed: &Bed, cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    bed.gen_host
        .run(|| {
            pin_to(cpu)?;
            work()
        })
        .with_context(|| format!("sending on CPU {cpu}"))
}
