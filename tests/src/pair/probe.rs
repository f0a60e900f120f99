//! Questions that are asked once each, every millisecond: as nothing is sent again, a gap in
//! the answers is a gap in the service, and not what a retransmission timer makes of it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{clock::Clock, pulse::Pulse};

/// From one probe to the next.
pub const PACE: Duration = Duration::from_millis(1);
/// How long a receiver may wait for an answer at most: bounds how late the end comes.
pub const PATIENCE: Duration = Duration::from_millis(50);

/// One probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// When it was sent.
    pub at: Duration,
    /// When it was answered as it should, if it was.
    pub answered: Option<Duration>,
}

/// Probes until it is dropped.
#[derive(Debug)]
pub struct Probing {
    probes: Arc<Mutex<Vec<Probe>>>,
    _sender: Pulse,
    _receiver: Pulse,
}

impl Probing {
    /// Begins. `send` sends the probe of that number, and `receive` waits for an answer, for
    /// [`PATIENCE`] at most, and tells the number of the probe that it is to.
    pub(super) fn start(
        clock: Clock,
        send: impl Fn(u32) + Send + 'static,
        receive: impl Fn() -> Option<u32> + Send + 'static,
    ) -> Self {
        let probes = Arc::new(Mutex::new(Vec::<Probe>::new()));
        let sent = Arc::clone(&probes);
        let sender = Pulse::every(PACE, move || {
            let number = {
                let mut probes = lock(&sent);
                probes.push(Probe {
                    at: clock.now(),
                    answered: None,
                });
                probes.len() as u32 - 1
            };
            send(number);
        });
        let answers = Arc::clone(&probes);
        let receiver = Pulse::always(move || {
            if let Some(number) = receive()
                && let Some(probe) = lock(&answers).get_mut(number as usize)
            {
                probe.answered.get_or_insert(clock.now());
            }
        });
        Self {
            probes,
            _sender: sender,
            _receiver: receiver,
        }
    }

    /// Everything until now.
    pub fn probes(&self) -> Vec<Probe> {
        lock(&self.probes).clone()
    }

    /// When a probe was answered last.
    pub fn last_answer(&self) -> Option<Duration> {
        let probes = lock(&self.probes);
        probes.iter().rev().find_map(|probe| probe.answered)
    }
}

fn lock(probes: &Mutex<Vec<Probe>>) -> MutexGuard<'_, Vec<Probe>> {
    probes.lock().unwrap_or_else(PoisonError::into_inner)
}
