//! What is measured in a row.

use std::net::SocketAddr;

use lb_common::verdict::Verdict;

use crate::frame::{self, ACK, Frame, SYN, UDP};
use crate::row::{Load, Row, Scheduler, Way};
use crate::site::Service;
use crate::traffic::Clients;

/// Packets of one kind.
#[derive(Debug, Clone)]
pub struct Packets {
    /// What they are, from (or to) the first client.
    pub frame: Frame,
    /// Which clients they are of.
    pub clients: Clients,
    /// How many clients there are.
    pub flows: u32,
    /// The first of them that are one after the other.
    pub first: u32,
    /// Whether they go to the client.
    pub to_client: bool,
}

/// A row's packets, and what has to become of them.
pub struct Scenario {
    /// The row.
    pub row: Row,
    /// Its service.
    pub service: Service,
    /// Flows that the flow table is made for.
    pub table: u32,
    /// What both tables see first: these packets of every client.
    pub before: Vec<Packets>,
    /// What is measured.
    pub measured: Packets,
    /// Whether that goes to the source from which the flow reached its server.
    pub to_pool: bool,
    /// What has to become of the packets ...
    pub verdict: Verdict,
    /// ... at least in this share. Else something else was measured.
    pub share: f64,
}

/// A few flows of so many find their bucket full of established ones, and their packets
/// are scheduled by hash each time; the kernel's table too holds its entries but nearly.
const MOST: f64 = 0.98;
/// In a flood, as many established flows as the table is made for leave some buckets no
/// room for others.
const FLOODED: f64 = 0.9;

impl Scenario {
    /// Of a row, with tables for `table` flows, if it has no more.
    pub fn new(row: Row, table: u32) -> Self {
        let service = row.service();
        let kinds = Kinds(service);
        let flows = match row.load {
            Load::Known(flows) => flows,
            Load::New | Load::Flood => table,
        };
        let (before, measured) = match row.load {
            Load::Known(flows) => (kinds.established(flows), kinds.at_random(flows)),
            // Three times as many as the tables are for, so that both are full and
            // every newcomer takes somebody's place.
            Load::New => (vec![kinds.open(0, 3 * table)], kinds.open(3 * table, 1)),
            Load::Flood => {
                let mut before = kinds.established(table);
                before.push(kinds.open(table, 3 * table));
                (before, kinds.open(4 * table, 1))
            }
        };
        let mut scenario = Scenario {
            row,
            service,
            table: table.max(flows),
            before,
            measured,
            to_pool: row.way == Way::FullNatBack,
            verdict: Verdict::ForwardKnown,
            share: match row.load {
                Load::Known(1) => 1.0,
                Load::Known(_) | Load::New => MOST,
                Load::Flood => FLOODED,
            },
        };
        match row.way {
            Way::NatBack | Way::FullNatBack => {
                scenario.measured.frame = frame::tcp(service.server(), service.client(), ACK);
                scenario.measured.to_client = row.way == Way::NatBack;
                scenario.verdict = Verdict::ReturnNat;
            }
            Way::Pass => {
                scenario.measured.frame = frame::tcp(service.client(), service.elsewhere(), ACK);
                scenario.verdict = Verdict::PassNotVip;
            }
            _ if matches!(row.load, Load::New | Load::Flood) => {
                scenario.verdict = Verdict::ForwardNew;
            }
            Way::Dsr | Way::Ipip | Way::Gue if row.scheduler != Scheduler::RoundRobin => {
                scenario.verdict = Verdict::ForwardStable;
                scenario.share = 1.0;
                // Nobody remembers them.
                scenario.before.clear();
            }
            _ => {}
        }
        scenario
    }

    /// The measured packets to the first client, if it is at `client`.
    pub fn answer(&self, client: SocketAddr) -> Frame {
        frame::tcp(self.service.server(), client, ACK)
    }
}

/// The packets of a service.
struct Kinds(Service);

impl Kinds {
    /// What opens a flow: of `count` clients from client `first` on.
    fn open(&self, first: u32, count: u32) -> Packets {
        Packets {
            frame: self.frame(SYN),
            clients: Clients::NEXT,
            flows: count,
            first,
            to_client: false,
        }
    }

    /// What opens `flows` flows, then what makes them established.
    fn established(&self, flows: u32) -> Vec<Packets> {
        let more = Packets {
            frame: self.frame(ACK),
            ..self.open(0, flows)
        };
        vec![self.open(0, flows), more]
    }

    fn at_random(&self, flows: u32) -> Packets {
        Packets {
            frame: self.frame(ACK),
            clients: if flows == 1 {
                Clients::ONE
            } else {
                Clients::RANDOM
            },
            ..self.open(0, flows)
        }
    }

    fn frame(&self, flags: u8) -> Frame {
        let (client, vip) = (self.0.client(), self.0.vip());
        if self.0.protocol == UDP {
            frame::udp(client, vip)
        } else {
            frame::tcp(client, vip, flags)
        }
    }
}
