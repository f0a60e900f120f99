//! What is to be reached.

use crate::row::{self, FLOWS, Load, MANY, Row, Scheduler, Way};

/// What a row's figure is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Against {
    /// The kernel's LRU hash in that row.
    Reference(Row),
    /// Flowgate in that row.
    Ours(Row),
    /// Nanoseconds.
    Clock,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Whose figure.
    pub of: Row,
    /// Compared with what.
    pub against: Against,
    /// The most that it may be: times that, or nanoseconds.
    pub most: f64,
}

const TUNNEL_AND_NAT: f64 = 1.6;
const FULL_NAT: f64 = 2.5;
const IPV6: f64 = 1.3;
const PASS_NS: f64 = 10.0;
const MAGLEV: f64 = 1.3;
const MAGLEV_REFERENCE: f64 = 0.12;

/// Every target.
pub fn all() -> Vec<Target> {
    use Against::{Clock, Ours, Reference};
    use Scheduler::RoundRobin;
    let dsr = |scheduler, load| Row {
        way: Way::Dsr,
        is_six: false,
        scheduler,
        load,
    };
    let [one, million] = [1, FLOWS].map(|flows| dsr(RoundRobin, Load::Known(flows)));
    let mut targets = Vec::new();
    let mut put = |of, against, most| targets.push(Target { of, against, most });
    put(one, Reference(one), 0.4);
    put(million, Reference(million), 0.3);
    for (load, most) in [(Load::New, 0.2), (Load::Flood, 0.25)] {
        let row = dsr(RoundRobin, load);
        put(row, Reference(row), most);
    }
    let rows = row::all();
    for &of in &rows {
        // The same by another way, version or number of flows, where that is measured.
        let mut beside = |other: Row, most| {
            if other != of && rows.contains(&other) {
                put(of, Ours(other), most);
            }
        };
        match of.way {
            Way::Pass => {
                put(of, Clock, PASS_NS);
                continue;
            }
            Way::Ipip | Way::Gue | Way::Nat | Way::NatBack => {
                let way = Way::Dsr;
                beside(Row { way, ..of }, TUNNEL_AND_NAT);
            }
            Way::FullNat | Way::FullNatBack => {
                let way = Way::Dsr;
                beside(Row { way, ..of }, FULL_NAT);
            }
            Way::Dsr | Way::DsrUdp => {}
        }
        if of.is_six {
            let is_six = false;
            beside(Row { is_six, ..of }, IPV6);
        }
        if of.scheduler != RoundRobin && of.load == Load::Known(MANY) {
            let load = Load::Known(1);
            beside(Row { load, ..of }, MAGLEV);
            put(of, Reference(million), MAGLEV_REFERENCE);
        }
    }
    targets
}
