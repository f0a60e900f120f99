//! The rows of the table.

use std::fmt;

use lb_common::{abi::Forward, wheel::Index};

use crate::{
    frame::{TCP, UDP},
    site::Service,
};

/// Flows that the tables are made for, if a row has no more.
pub const FLOWS: u32 = 1_000_000;
/// Flows of a small table, and of the rows between one flow and a million.
pub const FEW: u32 = 1 << 16;
/// Flows of the largest rows.
pub const MANY: u32 = 10_000_000;

/// Servers of most services, and of a large one.
const SERVERS: u16 = 4;
const LARGE: u16 = 600;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Dsr,
    DsrUdp,
    /// In an outer IP header, of the packet's own version.
    Ipip,
    /// The same with GUE's UDP header between.
    Gue,
    Nat,
    NatBack,
    FullNat,
    FullNatBack,
    /// It is none of ours.
    Pass,
}

/// How new flows are scheduled, and so what is remembered of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// Every flow is in the flow table (with `full-nat`, among its ports).
    RoundRobin,
    /// Nothing is remembered with `dsr` and in tunnels.
    Maglev,
    /// The same, with hundreds of servers.
    LargeMaglev,
}

/// Which flows the packets are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Of this many that are known, one at random each.
    Known(u32),
    /// Each is the SYN of a new one, and the tables are full of such.
    New,
    /// The same, while the flow table holds as many established ones as it is made for.
    Flood,
}

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub way: Way,
    pub is_six: bool,
    pub scheduler: Scheduler,
    pub load: Load,
}

const ONE: Load = Load::Known(1);
const MILLION: Load = Load::Known(FLOWS);

/// Every row, in the order of the table: what is compared lies close together.
pub fn all() -> Vec<Row> {
    use Scheduler::{LargeMaglev, Maglev, RoundRobin};
    let mut rows = Vec::new();
    let mut put = |way, versions: &[bool], scheduler, load| {
        rows.extend(versions.iter().map(|&is_six| Row {
            way,
            is_six,
            scheduler,
            load,
        }));
    };
    let (both, four) = ([false, true], [false]);
    put(Way::Pass, &both, RoundRobin, ONE);
    put(Way::Dsr, &both, RoundRobin, ONE);
    put(Way::DsrUdp, &four, RoundRobin, ONE);
    for way in [
        Way::Ipip,
        Way::Gue,
        Way::Nat,
        Way::NatBack,
        Way::FullNat,
        Way::FullNatBack,
    ] {
        put(way, &both, RoundRobin, ONE);
    }
    for way in [Way::Dsr, Way::Ipip, Way::Gue] {
        put(way, &both, Maglev, ONE);
    }
    put(Way::Dsr, &four, LargeMaglev, ONE);
    put(Way::Dsr, &four, Maglev, Load::Known(FEW));
    put(Way::Dsr, &four, Maglev, MILLION);
    put(Way::Dsr, &both, Maglev, Load::Known(MANY));
    put(Way::Ipip, &four, Maglev, Load::Known(MANY));
    put(Way::Dsr, &four, LargeMaglev, Load::Known(MANY));
    put(Way::Dsr, &four, RoundRobin, Load::Known(FEW));
    put(Way::Dsr, &both, RoundRobin, MILLION);
    for way in [Way::Ipip, Way::Nat, Way::NatBack, Way::FullNat] {
        put(way, &four, RoundRobin, MILLION);
    }
    put(Way::Dsr, &four, RoundRobin, Load::Known(MANY));
    put(Way::Dsr, &both, RoundRobin, Load::New);
    put(Way::FullNat, &four, RoundRobin, Load::New);
    put(Way::Dsr, &four, RoundRobin, Load::Flood);
    rows
}

impl Row {
    /// Whether what tells it from a row with fewer flows is cache misses, not instructions.
    pub fn is_of_caches(&self) -> bool {
        matches!(self.load, Load::Known(2..))
    }

    /// Whether a pause between two rounds makes no difference: nothing that was remembered of
    /// many flows grows old in it.
    pub fn takes_turns(&self) -> bool {
        self.load == ONE || self.scheduler != Scheduler::RoundRobin
    }

    /// Whether the kernel's LRU hash is measured too.
    pub fn has_reference(&self) -> bool {
        let fits = match self.load {
            Load::Known(flows) => flows <= FLOWS,
            Load::New | Load::Flood => true,
        };
        self.way == Way::Dsr && !self.is_six && self.scheduler == Scheduler::RoundRobin && fits
    }

    /// What is balanced.
    pub fn service(&self) -> Service {
        let forward = match (self.way, self.is_six) {
            (Way::Dsr | Way::DsrUdp | Way::Pass, _) => Forward::Dsr,
            (Way::Ipip, false) => Forward::Ip4,
            (Way::Ipip, true) => Forward::Ip6,
            (Way::Gue, false) => Forward::Gue4,
            (Way::Gue, true) => Forward::Gue6,
            (Way::Nat | Way::NatBack, _) => Forward::Nat,
            (Way::FullNat | Way::FullNatBack, _) => Forward::FullNat,
        };
        let servers = match (forward, self.scheduler) {
            // The packets back are one server's.
            (Forward::Nat | Forward::FullNat, _) => 1,
            (_, Scheduler::LargeMaglev) => LARGE,
            _ => SERVERS,
        };
        Service {
            is_six: self.is_six,
            protocol: if self.way == Way::DsrUdp { UDP } else { TCP },
            forward,
            index: match self.scheduler {
                Scheduler::RoundRobin => Index::Counter,
                Scheduler::Maglev | Scheduler::LargeMaglev => Index::Hash,
            },
            servers,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Dsr => "dsr",
            Way::DsrUdp => "dsr UDP",
            Way::Ipip => "tunnel IPIP",
            Way::Gue => "tunnel GUE",
            Way::Nat => "nat to server",
            Way::NatBack => "nat to client",
            Way::FullNat => "full-nat to server",
            Way::FullNatBack => "full-nat to client",
            Way::Pass => "not ours",
        };
        let version = if self.is_six { "IPv6" } else { "IPv4" };
        write!(f, "{way}, {version}")?;
        if self.way == Way::Pass {
            return Ok(());
        }
        match self.scheduler {
            Scheduler::RoundRobin => write!(f, ", round robin")?,
            Scheduler::Maglev => write!(f, ", Maglev")?,
            Scheduler::LargeMaglev => write!(f, ", Maglev {LARGE} servers")?,
        }
        match self.load {
            Load::Known(1) => write!(f, ", 1 flow"),
            Load::Known(flows) if flows % 1_000_000 == 0 => {
                write!(f, ", {} M flows", flows / 1_000_000)
            }
            Load::Known(flows) => write!(f, ", {} k flows", flows / 1_024),
            Load::New => write!(f, ", new flows"),
            Load::Flood => write!(f, ", SYN flood"),
        }
    }
}
