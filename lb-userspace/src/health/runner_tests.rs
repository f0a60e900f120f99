use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::mpsc::{self, Receiver, error::TryRecvError},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Checker, Health, HealthEvent, Target, TargetId};
use crate::config::model::{CheckKind, HealthCheck};

const DEADLINE: Duration = Duration::from_secs(20);

fn check(interval_ms: u64) -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Tcp,
        port: None,
        interval: Duration::from_millis(interval_ms),
        // Longer than a busy machine keeps anyone waiting.
        timeout: Duration::from_secs(5),
        rise: 2,
        fall: 2,
        jitter: 10,
    }
}

fn target(backend: &str, address: SocketAddr, check: HealthCheck) -> Target {
    Target {
        id: TargetId {
            service: "web".to_owned(),
            backend: backend.to_owned(),
        },
        address,
        check,
        host: "203.0.113.10".to_owned(),
        initial: Health::Checking,
    }
}

/// A listener that notes whom it accepts, until it is dropped.
struct Server {
    address: SocketAddr,
    accepted: Arc<Mutex<Vec<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind");
        let address = listener.local_addr().expect("bound");
        let accepted = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let noted = accepted.clone();
        let task = tokio::spawn(async move {
            while let Ok((_, peer)) = listener.accept().await {
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.push(peer);
            }
        });
        Self {
            address,
            accepted,
            task,
        }
    }

    /// At an address of this test alone: nobody else takes the port of one that has stopped.
    async fn start() -> Self {
        static TESTS: AtomicU8 = AtomicU8::new(1);
        thread_local! {
            static TEST: u8 = TESTS.fetch_add(1, Ordering::Relaxed);
        }
        let ip = Ipv4Addr::new(127, 0, 2, TEST.with(|test| *test));
        Self::at(&format!("{ip}:0")).await
    }

    /// Stops listening and gives the address for a later start.
    async fn stop(mut self) -> SocketAddr {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.address
    }

    fn count(&self) -> usize {
        let accepted = self.accepted.lock();
        accepted.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until `more` further connections came.
    async fn wait_for(&self, more: usize) {
        let goal = self.count() + more;
        let reached = async {
            while self.count() < goal {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(DEADLINE, reached).await.expect("probes go on");
    }

    /// Lets the accept loop take what is in its queue: it has when a connection
    /// that came later has been noted.
    async fn settle(&self) {
        let before = self.count();
        let last = tokio::net::TcpStream::connect(self.address).await;
        let last = last.expect("connect");
        let own = last.local_addr().expect("connected");
        let is_noted = || {
            let accepted = self.accepted.lock();
            accepted.unwrap_or_else(PoisonError::into_inner)[before..].contains(&own)
        };
        let counted = async {
            while !is_noted() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(DEADLINE, counted).await.expect("counted");
    }
}

async fn next(events: &mut Receiver<HealthEvent>) -> HealthEvent {
    let event = timeout(DEADLINE, events.recv()).await;
    event.expect("an event in time").expect("an open channel")
}

#[tokio::test]
async fn tells_of_failure_and_return() {
    let server = Server::start().await;
    let (sender, mut events) = mpsc::channel(16);
    let mut checker = Checker::new(sender);
    let web1 = target("web1", server.address, check(5));
    checker.set_targets(vec![web1.clone()]).await;

    let up = next(&mut events).await;
    assert_eq!((up.id, up.health), (web1.id, Health::Healthy));
    assert_eq!(up.reason, "answered");

    let address = server.stop().await;
    let down = next(&mut events).await;
    assert_eq!(down.health, Health::Failed);
    assert_eq!(down.reason, "connection refused, 2 failures in a row");

    let _server = Server::at(&address.to_string()).await;
    let back = next(&mut events).await;
    assert_eq!(back.health, Health::Healthy);
    assert_eq!(back.reason, "answered 2 times in a row");
}

#[tokio::test]
async fn a_known_health_is_not_told_again() {
    let server = Server::start().await;
    let (sender, mut events) = mpsc::channel(16);
    let mut checker = Checker::new(sender);
    let mut web1 = target("web1", server.address, check(5));
    web1.initial = Health::Healthy;
    checker.set_targets(vec![web1]).await;
    server.wait_for(5).await;
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test]
async fn removed_targets_stop_at_once_and_others_go_on() {
    let (first, second) = (Server::start().await, Server::start().await);
    let (sender, mut events) = mpsc::channel(16);
    let mut checker = Checker::new(sender);
    let one = target("one", first.address, check(5));
    let two = target("two", second.address, check(5));
    checker.set_targets(vec![one.clone(), two]).await;
    for _ in 0..2 {
        assert_eq!(next(&mut events).await.health, Health::Healthy);
    }

    checker.set_targets(vec![one]).await;
    // Connections of the last probe may still wait to be accepted.
    second.settle().await;
    let after = second.count();
    first.wait_for(5).await;
    assert_eq!(second.count(), after, "no probe after removal");
    // Unchanged: nothing was told again.
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));

    checker.set_targets(vec![]).await;
    assert_eq!(events.sender_strong_count(), 1, "no task is left to tell");
    drop(checker);
    let closed = timeout(DEADLINE, events.recv()).await;
    assert_eq!(closed.expect("dropping ends every task"), None);
}

#[tokio::test]
async fn an_unchanged_target_is_not_asked_anew() {
    let server = Server::start().await;
    let (sender, mut events) = mpsc::channel(16);
    let mut checker = Checker::new(sender);
    let mut targets = vec![target("seldom", server.address, check(3_600_000))];
    checker.set_targets(targets.clone()).await;
    next(&mut events).await;

    targets[0].initial = Health::Healthy;
    let more = (0..8).map(|n| target(&format!("new{n}"), server.address, check(3_600_000)));
    targets.extend(more);
    checker.set_targets(targets).await;
    for _ in 0..8 {
        next(&mut events).await;
    }
    server.settle().await;
    // One probe of each of the nine, and the test's own connection.
    assert_eq!(server.count(), 10);
}

#[tokio::test]
async fn a_changed_check_keeps_the_health() {
    let server = Server::start().await;
    let other = Server::start().await;
    let (sender, mut events) = mpsc::channel(16);
    let mut checker = Checker::new(sender);
    let mut web1 = target("web1", server.address, check(5));
    checker.set_targets(vec![web1.clone()]).await;
    assert_eq!(next(&mut events).await.health, Health::Healthy);

    // Another port to ask: the probes move there, the health stays.
    web1.check.port = Some(other.address.port());
    checker.set_targets(vec![web1.clone()]).await;
    other.wait_for(5).await;
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));

    // It takes `fall` failures from the kept health, not one from `Checking`.
    web1.check.port = Some(other.stop().await.port());
    checker.set_targets(vec![web1]).await;
    let down = next(&mut events).await;
    assert_eq!(down.reason, "connection refused, 2 failures in a row");
}

#[tokio::test]
async fn a_full_channel_loses_no_change() {
    let server = Server::start().await;
    let (sender, mut events) = mpsc::channel(1);
    let mut checker = Checker::new(sender);
    let targets: Vec<_> = (0..5)
        .map(|n| target(&format!("web{n}"), server.address, check(5)))
        .collect();
    checker.set_targets(targets.clone()).await;
    // Nobody reads: all but one wait to tell.
    server.wait_for(5).await;
    // A change restarts even those that wait, and they tell afterwards.
    let slower = targets.into_iter().map(|mut target| {
        target.check = check(10);
        target
    });
    checker.set_targets(slower.collect()).await;
    let mut told = HashSet::new();
    while told.len() < 5 {
        let event = next(&mut events).await;
        assert_eq!(event.health, Health::Healthy);
        assert!(told.insert(event.id), "told once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_backends_at_ten_milliseconds() {
    const BACKENDS: usize = 300;
    let server = Server::start().await;
    let (sender, mut events) = mpsc::channel(BACKENDS);
    let mut checker = Checker::new(sender);
    let targets = (0..BACKENDS).map(|n| target(&format!("web{n}"), server.address, check(10)));
    checker.set_targets(targets.collect()).await;
    let mut health = HashMap::new();
    while health.len() < BACKENDS {
        let event = next(&mut events).await;
        assert_eq!(
            event.health,
            Health::Healthy,
            "{}: {}",
            event.id,
            event.reason
        );
        health.insert(event.id, event.health);
    }
    server.wait_for(10 * BACKENDS).await;
    assert_eq!(
        events.try_recv(),
        Err(TryRecvError::Empty),
        "none failed by load"
    );
}
