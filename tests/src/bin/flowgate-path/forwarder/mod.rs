//! What is measured: a file each. A new one is a file that implements [`Forwarder`], and
//! a line in [`all`].

mod bare;
mod flowgate;
mod ip_forward;
mod ipvs;
mod nft;

use anyhow::Result;

use crate::{
    addresses::{Family, Wiring},
    bed::Bed,
    frame::Delivery,
};

pub use self::flowgate::Scheduler;

/// Flows of the rows that have many, and of those that have very many.
pub const MANY: u32 = 1 << 16;
pub const MILLION: u32 = 1_000_000;

/// Something that forwards what comes in at `front` to the servers.
pub trait Forwarder {
    /// Its name in the rows, without the version of IP.
    fn name(&self) -> String;

    /// The version of IP of what it forwards.
    fn family(&self) -> Family {
        Family::V4
    }

    /// Where the servers are.
    fn wiring(&self) -> Wiring {
        Wiring::Through
    }

    /// What it does to packets.
    fn delivery(&self) -> Delivery {
        Delivery::Vip
    }

    /// The scheduler, for those that have one of ours.
    fn scheduler(&self) -> Option<Scheduler> {
        None
    }

    /// How many flows each CPU has, a row each.
    fn flows(&self) -> &'static [u32] {
        &[1, MANY]
    }

    /// Whether it is Flowgate.
    fn is_ours(&self) -> bool {
        false
    }

    /// Whether it is what others are compared with.
    fn is_bare(&self) -> bool {
        false
    }

    /// Fails with what is missing on this machine.
    fn look(&self) -> Result<()> {
        Ok(())
    }

    /// Makes it forward in the bed.
    fn start(&self, bed: &mut Bed) -> Result<Box<dyn Running>>;
}

/// A forwarder at work, until it is dropped.
pub trait Running {
    /// How many packets, of those that it has forwarded, it took for one of a flow that it
    /// knew; `None` where it doesn't count that.
    fn known(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// What the kernel does by itself once it is set up.
struct Alone;

impl Running for Alone {}

/// All of them, the bare ones first.
pub fn all() -> Vec<Box<dyn Forwarder>> {
    let mut all: Vec<Box<dyn Forwarder>> = Vec::new();
    for bare in bare::all() {
        all.push(Box::new(bare));
    }
    for ours in flowgate::all() {
        all.push(Box::new(ours));
    }
    all.push(Box::new(ip_forward::IpForward));
    all.push(Box::new(nft::Nft));
    for ipvs in ipvs::all() {
        all.push(Box::new(ipvs));
    }
    all
}
