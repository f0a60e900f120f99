//! A client that counts: one connection for each request.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{http, interrupt, netns::Namespace};

/// A request that has taken longer has failed. Longer than a SYN's second
/// retransmission (1 s + 2 s), so that a lost frame shows as slowness and only a
/// lost connection as a failure.
const PATIENCE: Duration = Duration::from_secs(4);
/// Requests under way at once.
const WORKERS: u32 = 4;
/// A burst ends after so many failures: each may take all of [`PATIENCE`].
const GIVE_UP: u64 = 20;

/// How one request went.
#[derive(Debug, Clone)]
struct Sample {
    begun: Instant,
    ended: Instant,
    /// The server's name, or why there was no answer.
    outcome: Result<String, String>,
}

/// How a number of requests went.
#[derive(Debug, Clone, Default)]
pub struct Report {
    samples: Vec<Sample>,
}

impl Report {
    /// How many requests were made.
    pub fn total(&self) -> usize {
        self.samples.len()
    }

    /// Answers a server.
    pub fn answers(&self) -> BTreeMap<String, u64> {
        let mut answers = BTreeMap::new();
        for name in self.samples.iter().flat_map(|s| s.outcome.as_ref().ok()) {
            *answers.entry(name.clone()).or_default() += 1;
        }
        answers
    }

    /// Answers of one server.
    pub fn of(&self, server: &str) -> u64 {
        self.answers().get(server).copied().unwrap_or(0)
    }

    /// How many requests failed.
    pub fn failed(&self) -> usize {
        self.failures().count()
    }

    /// Why requests failed, and how many of each.
    pub fn reasons(&self) -> BTreeMap<String, u64> {
        let mut reasons = BTreeMap::new();
        for (_, reason) in self.failures() {
            *reasons.entry(reason.to_owned()).or_default() += 1;
        }
        reasons
    }

    /// When the last request that failed had begun.
    pub fn last_failure(&self) -> Option<Instant> {
        self.failures().map(|(sample, _)| sample.begun).max()
    }

    /// When the first failure showed.
    pub fn first_failure(&self) -> Option<Instant> {
        self.failures().map(|(sample, _)| sample.ended).min()
    }

    /// When the first answer of `server` to a request begun after `moment` came.
    pub fn first_answer(&self, server: &str, moment: Instant) -> Option<Instant> {
        self.samples
            .iter()
            .filter(|s| s.begun >= moment && s.outcome.as_ref().is_ok_and(|name| name == server))
            .map(|s| s.ended)
            .min()
    }

    /// The longest time from one answer to the next.
    pub fn longest_gap(&self) -> Duration {
        let mut answered: Vec<_> = self
            .samples
            .iter()
            .filter(|s| s.outcome.is_ok())
            .map(|s| s.ended)
            .collect();
        answered.sort();
        answered
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default()
    }

    /// The longest time that an answer took.
    pub fn slowest(&self) -> Duration {
        self.samples
            .iter()
            .filter(|s| s.outcome.is_ok())
            .map(|s| s.ended - s.begun)
            .max()
            .unwrap_or_default()
    }

    fn failures(&self) -> impl Iterator<Item = (&Sample, &str)> {
        self.samples
            .iter()
            .filter_map(|s| Some((s, s.outcome.as_ref().err()?.as_str())))
    }
}

/// How many SYNs a host's kernel has sent again, having had no answer for a second: frames were
/// lost. How long requests take tells less, which also depends on when programs get a CPU.
pub fn syns_again(host: &Namespace) -> Result<u64> {
    const COUNTER: &str = "TCPSynRetrans";
    let table = host.run(|| fs::read_to_string("/proc/thread-self/net/netstat"))?;
    let mut lines = table.lines().filter(|line| line.starts_with("TcpExt:"));
    let [names, counts] =
        [lines.next(), lines.next()].map(|line| line.unwrap_or_default().split_whitespace());
    let count = names.zip(counts).find(|(name, _)| *name == COUNTER);
    let (_, count) = count.with_context(|| format!("no {COUNTER} in\n{table}"))?;
    Ok(count.parse()?)
}

/// Makes `count` requests, each on a connection of its own, as fast as they are
/// answered; fewer when many of them fail.
pub fn requests(client: &Namespace, peer: SocketAddr, count: u64) -> Result<Report> {
    let left = Arc::new(AtomicU64::new(count));
    let lives = Arc::new(AtomicU64::new(GIVE_UP));
    let workers = (0..WORKERS)
        .map(|_| {
            let (left, lives) = (Arc::clone(&left), Arc::clone(&lives));
            client.spawn(move || burst(peer, &left, &lives))
        })
        .collect::<Result<Vec<_>>>()?;
    let report = gather(workers);
    interrupt::check()?;
    Ok(report)
}

fn burst(peer: SocketAddr, left: &AtomicU64, lives: &AtomicU64) -> Vec<Sample> {
    let take = |count: &AtomicU64| {
        count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_ok()
    };
    let mut samples = Vec::new();
    while lives.load(Ordering::Relaxed) > 0 && interrupt::check().is_ok() && take(left) {
        let sample = request(peer);
        if sample.outcome.is_err() {
            take(lives);
        }
        samples.push(sample);
    }
    samples
}

/// Requests at a steady rate in the background, until it is stopped or dropped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// Starts about `per_second` requests a second; fewer while answers are slow.
    pub fn start(client: &Namespace, peer: SocketAddr, per_second: u32) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let every = Duration::from_secs(1) * WORKERS / per_second.max(1);
        let mut load = Self {
            stop: Arc::clone(&stop),
            workers: Vec::new(),
        };
        for _ in 0..WORKERS {
            let stop = Arc::clone(&stop);
            load.workers
                .push(client.spawn(move || pace(peer, every, &stop))?);
        }
        Ok(load)
    }

    /// Stops, waits for the requests under way, and reports.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        gather(std::mem::take(&mut self.workers))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        gather(std::mem::take(&mut self.workers));
    }
}

fn pace(peer: SocketAddr, every: Duration, stop: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) && interrupt::check().is_ok() {
        samples.push(request(peer));
        // After a slow answer, go on from now instead of catching up in a burst.
        due = (due + every).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    samples
}

fn request(peer: SocketAddr) -> Sample {
    let begun = Instant::now();
    let outcome = http::get(peer, "/", PATIENCE).map_err(|error| format!("{error:#}"));
    Sample {
        begun,
        ended: Instant::now(),
        outcome,
    }
}

fn gather(workers: Vec<JoinHandle<Vec<Sample>>>) -> Report {
    let samples = workers
        .into_iter()
        .flat_map(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
        .collect();
    Report { samples }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(samples: &[(u64, u64, Result<&str, &str>)]) -> (Instant, Report) {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let samples = samples
            .iter()
            .map(|&(begun, ended, outcome)| Sample {
                begun: at(begun),
                ended: at(ended),
                outcome: outcome.map(str::to_owned).map_err(str::to_owned),
            })
            .collect();
        (zero, Report { samples })
    }

    #[test]
    fn a_report_counts_and_measures() {
        let (zero, report) = report(&[
            (0, 10, Ok("web1")),
            (5, 6, Err("connect: refused")),
            (20, 22, Ok("web2")),
            (90, 100, Ok("web1")),
        ]);
        assert_eq!((report.total(), report.failed()), (4, 1));
        assert_eq!((report.of("web1"), report.of("web3")), (2, 0));
        assert_eq!(report.reasons()["connect: refused"], 1);
        assert_eq!(report.longest_gap(), Duration::from_millis(78));
        assert_eq!(report.slowest(), Duration::from_millis(10));
        let ms = |moment: Option<Instant>| moment.map(|at| (at - zero).as_millis());
        assert_eq!(ms(report.last_failure()), Some(5));
        let later = zero + Duration::from_millis(11);
        assert_eq!(ms(report.first_answer("web1", later)), Some(100));
    }

    #[test]
    fn an_empty_report_is_all_zero() {
        let report = Report::default();
        assert_eq!(report.longest_gap(), Duration::ZERO);
        assert_eq!(report.last_failure(), None);
    }
}
