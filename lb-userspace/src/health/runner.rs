//! Probes many backends at once and tells of changes.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{self, sleep_until},
};
use tracing::debug;

use super::{Endpoint, Health, Machine, probe};
use crate::config::model::HealthCheck;

/// Which backend of which service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId {
    /// The service's name.
    pub service: String,
    /// The backend's name within the service.
    pub backend: String,
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}

/// A backend to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which one.
    pub id: TargetId,
    /// Its own address and port; the check may name another port.
    pub address: SocketAddr,
    /// What is asked and how often.
    pub check: HealthCheck,
    /// The `Host` header where the check names none.
    pub host: String,
    /// What was known of it before. Heeded only for a target that isn't
    /// being checked already.
    pub initial: Health,
}

impl Target {
    /// Whether `other` asks the same of the same server.
    fn same_question(&self, other: &Self) -> bool {
        (&self.id, self.address, &self.check, &self.host)
            == (&other.id, other.address, &other.check, &other.host)
    }
}

/// A backend's health has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthEvent {
    /// Which backend.
    pub id: TargetId,
    /// [`Health::Healthy`] or [`Health::Failed`].
    pub health: Health,
    /// Why, in words for a person.
    pub reason: String,
    /// When the deciding probe ended.
    pub at: Instant,
}

/// Checks a set of backends until it is dropped. Needs a tokio runtime.
#[derive(Debug)]
pub struct Checker {
    events: mpsc::Sender<HealthEvent>,
    running: HashMap<TargetId, Running>,
}

/// One target that is being checked.
#[derive(Debug)]
struct Running {
    target: Target,
    /// What the receiver of events knows of it.
    told: Arc<Mutex<Health>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Ends the checks and returns what was told last. Nothing is told afterwards.
    async fn stop(mut self) -> Health {
        self.task.abort();
        let _ = (&mut self.task).await;
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checker {
    /// A checker of nothing yet that will send changes to `events`. While that
    /// channel is full, the backends with something to tell aren't probed.
    pub fn new(events: mpsc::Sender<HealthEvent>) -> Self {
        Self {
            events,
            running: HashMap::new(),
        }
    }

    /// Checks exactly `targets` from now on. Those that are checked already go
    /// on undisturbed, those that ask something else now start again from the
    /// health they had, and the others stop. No event of a removed target is
    /// sent once this returns; the channel may hold earlier ones.
    ///
    /// Of several targets with the same id the last one counts.
    pub async fn set_targets(&mut self, targets: Vec<Target>) {
        let mut old = std::mem::take(&mut self.running);
        let wanted: HashMap<_, _> = targets.into_iter().map(|t| (t.id.clone(), t)).collect();
        for (id, mut target) in wanted {
            let running = match old.remove(&id) {
                Some(running) if running.target.same_question(&target) => running,
                Some(running) => {
                    target.initial = running.stop().await;
                    self.start(target)
                }
                None => self.start(target),
            };
            self.running.insert(id, running);
        }
        for (_, running) in old {
            running.stop().await;
        }
    }

    fn start(&self, target: Target) -> Running {
        let told = Arc::new(Mutex::new(target.initial));
        let task = tokio::spawn(check(target.clone(), told.clone(), self.events.clone()));
        Running { target, told, task }
    }
}

/// Probes one target for ever, or until nobody listens any more.
async fn check(target: Target, told: Arc<Mutex<Health>>, events: mpsc::Sender<HealthEvent>) {
    let Target {
        id,
        mut address,
        check,
        host,
        initial,
    } = target;
    address.set_port(check.port.unwrap_or(address.port()));
    let endpoint = Endpoint { address, host };
    let mut machine = Machine::new(&check, initial, now());
    while let Some(due) = machine.next_probe() {
        sleep_until(due.into()).await;
        machine.started(now());
        let result = probe(&endpoint, &check.kind, check.timeout).await;
        if let Err(error) = &result {
            debug!(target = %id, %address, %error, "probe failed");
        }
        let at = now();
        let Some(change) = machine.finished(at, result, random()) else {
            continue;
        };
        let event = HealthEvent {
            id: id.clone(),
            health: change.to,
            reason: change.reason,
            at,
        };
        if events.send(event).await.is_err() {
            return;
        }
        *told.lock().unwrap_or_else(PoisonError::into_inner) = change.to;
    }
}

/// The runtime's clock, which tests can hold.
fn now() -> Instant {
    time::Instant::now().into_std()
}

/// A number that is random enough to keep checks from marching in step: the
/// standard library seeds its hashers so.
fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
