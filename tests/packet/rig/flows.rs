//! What the program keeps: flows, ports of the pool, fragments, whom it has told of what.

use std::sync::atomic::Ordering;

use lb_common::{
    flow::{self, BUCKET_SLOTS, Entry, State},
    hash::{FlowKeys, Seed},
};

use super::{Place, Rig, words};
use crate::{frame::Socket, site::VIP};

impl Rig {
    /// Forgets every flow, every port, every fragment, and whom it has told of what.
    pub fn forget(&mut self) {
        for word in self.flows.words().iter().chain(self.ports.words()) {
            word.store(0, Ordering::Relaxed);
        }
        for key in self
            .fragments
            .keys()
            .map(|key| key.expect("keys"))
            .collect::<Vec<_>>()
        {
            self.fragments.remove(&key).expect("it is there");
        }
        let cpus = aya::util::nr_cpus().expect("a number of CPUs");
        let none = vec![[0; 2]; cpus].try_into().expect("one for each");
        self.told.set(0, none, 0).expect("its only element");
    }

    /// Gives every port of the pool to an established flow of nobody's.
    pub fn exhaust(&mut self) {
        let now = self.object.tick().expect("the clock");
        let taken = Entry::new(1, u16::MAX, now, State::Established).bits();
        for bucket in 0..self.ports.length() {
            for word in &self.ports.record(bucket)[..BUCKET_SLOTS] {
                word.store(taken, Ordering::Relaxed);
            }
        }
    }

    /// Lets every fragment's time run out.
    pub fn age_fragments(&mut self) {
        for entry in self.fragments.iter().collect::<Vec<_>>() {
            let (key, mut value) = entry.expect("an entry");
            value[0] = 1;
            self.fragments.insert(key, value, 0).expect("it is there");
        }
    }

    /// The flow's entry, if the table has one. `port` is the VIP's.
    pub fn entry(&self, client: Socket, port: u16, protocol: u8) -> Option<Entry> {
        let (bucket, fingerprint) = self.place(client, port, protocol);
        let words = self.flows.record(bucket as u32);
        let load = |slot: usize| Entry::from_bits(words[slot].load(Ordering::Relaxed));
        flow::find(load, fingerprint).map(|(_, entry)| entry)
    }

    /// The seed of a service.
    pub(super) fn seed(&self, (vip, port, protocol): Place) -> Seed {
        let (family, vip) = words(vip);
        FlowKeys(self.identity.flow_keys).seed(family, vip, port.to_be(), protocol)
    }

    /// Where a flow of a service of the VIP lies: bucket and fingerprint.
    pub fn place(&self, client: Socket, port: u16, protocol: u8) -> (u64, u64) {
        let seed = self.seed((VIP.into(), port, protocol));
        let ports = u32::from(client.1.to_be()) | u32::from(port.to_be()) << 16;
        let hash = seed.hash(u64::from(u32::from_ne_bytes(client.0)), ports);
        flow::place(hash, self.identity.flow_shift)
    }
}
