//! Rigs for as long as a test runs.

use std::{
    ops::{Deref, DerefMut},
    sync::Mutex,
};

use lb_common::abi::Endpoint;
use rustix::thread::sched_getcpu;

use super::{Rig, identity, stay_on};

/// Rigs that nobody uses just now: the verifier takes seconds over a program.
static IDLE: Mutex<Vec<Rig>> = Mutex::new(Vec::new());

/// A rig for as long as a test runs, as good as new: its maps are emptied before it is
/// lent again. One whose test has failed isn't.
pub struct Lent(Option<Rig>);

impl Deref for Lent {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Rig {
        self.0.as_mut().expect("there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (false, Some(rig)) = (std::thread::panicking(), self.0.take())
            && let Ok(mut idle) = IDLE.lock()
        {
            idle.push(rig);
        }
    }
}

/// A program with empty maps.
pub fn lend() -> Lent {
    let idle = IDLE.lock().expect("nobody panics with it").pop();
    let rig = match idle {
        Some(mut rig) => {
            rig.empty();
            rig
        }
        None => Rig::with(identity()),
    };
    Lent(Some(rig))
}

impl Rig {
    /// Takes everything out of the maps.
    fn empty(&mut self) {
        stay_on(sched_getcpu());
        self.forget();
        let endpoints: Vec<Endpoint> = self.tables.endpoints.iter().collect();
        for endpoint in endpoints {
            let (address, selector) = (endpoint.address, endpoint.selector);
            self.tables.endpoints.remove(address, selector);
        }
        for number in std::mem::take(&mut self.numbers) {
            self.tables.forget_backend(number);
            self.counters.reset_backend(number);
        }
        for service in 0..self.services {
            self.tables.reset_cursor(service, 0);
        }
        self.tables.put_routes(&[]);
        self.tables.put_routes6(&[]);
        for neighbour in std::mem::take(&mut self.neighbours) {
            let gone = self.tables.put_neighbour(neighbour, None);
            gone.expect("a neighbour less");
        }
        self.services = 0;
        self.endpoints.clear();
        self.risen();
    }
}
