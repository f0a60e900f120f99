//! What is measured.

use lb_common::verdict::Verdict;

use crate::frame::{self, ACK, CLIENT, Frame, SYN, Socket};
use crate::site::{DSR, DSR_UDP, ELSEWHERE, NAT, SERVER};
use crate::traffic::Clients;

/// Flows that the tables are made for.
pub const FLOWS: u32 = 1_000_000;

/// Packets of one kind.
#[derive(Clone, Copy)]
pub struct Packets {
    /// What they are, from (or to) the first client.
    pub frame: Frame,
    /// Which clients they are of.
    pub clients: Clients,
    /// How many clients there are.
    pub flows: u32,
    /// Whether they go to the client.
    pub to_client: bool,
}

/// A row of the table.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The most that we may take of what the reference takes.
    pub target: Option<f64>,
    /// What both tables see first: these packets of every client.
    pub before: Vec<Packets>,
    /// What is measured.
    pub measured: Packets,
    /// What has to become of the packets ...
    pub verdict: Verdict,
    /// ... at least in this share. Else something else was measured.
    pub share: f64,
}

const ONE_FLOW: Option<f64> = Some(0.5);
const MANY_FLOWS: Option<f64> = Some(0.4);
const NEW_FLOWS: Option<f64> = Some(0.25);

/// A few flows of so many find their bucket full of established ones, and their packets
/// are scheduled by hash each time; the kernel's table too holds its entries but nearly.
const MOST: f64 = 0.98;

/// Every scenario, in the order of the table.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "established, 1 flow",
            target: ONE_FLOW,
            before: handshakes(DSR, 1),
            measured: packets(tcp(DSR, ACK), 1),
            verdict: Verdict::ForwardKnown,
            share: 1.0,
        },
        Scenario {
            name: "established, 1 M flows",
            target: MANY_FLOWS,
            before: handshakes(DSR, FLOWS),
            measured: packets(tcp(DSR, ACK), FLOWS),
            verdict: Verdict::ForwardKnown,
            share: MOST,
        },
        Scenario {
            name: "new flows, a SYN each",
            target: NEW_FLOWS,
            // Three times as many as the tables are for, so that both are full and
            // every newcomer takes somebody's place.
            before: vec![each(tcp(DSR, SYN), 3 * FLOWS)],
            measured: each(tcp(DSR, SYN), 1),
            verdict: Verdict::ForwardNew,
            share: 1.0,
        },
        Scenario {
            name: "UDP, 1 flow",
            target: ONE_FLOW,
            before: vec![each(frame::udp(CLIENT, DSR_UDP), 1); 2],
            measured: packets(frame::udp(CLIENT, DSR_UDP), 1),
            verdict: Verdict::ForwardKnown,
            share: 1.0,
        },
        Scenario {
            name: "nat to the server, 1 flow",
            target: ONE_FLOW,
            before: handshakes(NAT, 1),
            measured: packets(tcp(NAT, ACK), 1),
            verdict: Verdict::ForwardKnown,
            share: 1.0,
        },
        Scenario {
            name: "nat to the client, 1 flow",
            target: ONE_FLOW,
            before: handshakes(NAT, 1),
            measured: Packets {
                to_client: true,
                ..packets(frame::tcp(SERVER, CLIENT, ACK), 1)
            },
            verdict: Verdict::ReturnNat,
            share: 1.0,
        },
        Scenario {
            name: "nat to the server, 1 M flows",
            target: MANY_FLOWS,
            before: handshakes(NAT, FLOWS),
            measured: packets(tcp(NAT, ACK), FLOWS),
            verdict: Verdict::ForwardKnown,
            share: MOST,
        },
        Scenario {
            name: "not ours, passed on",
            target: None,
            before: Vec::new(),
            measured: packets(tcp(ELSEWHERE, ACK), 1),
            verdict: Verdict::PassNotVip,
            share: 1.0,
        },
    ]
}

fn tcp(to: Socket, flags: u8) -> Frame {
    frame::tcp(CLIENT, to, flags)
}

/// A SYN of each of `flows` clients, then what makes their flows established.
fn handshakes(to: Socket, flows: u32) -> Vec<Packets> {
    vec![each(tcp(to, SYN), flows), each(tcp(to, ACK), flows)]
}

fn packets(frame: Frame, flows: u32) -> Packets {
    Packets {
        frame,
        clients: if flows == 1 {
            Clients::ONE
        } else {
            Clients::RANDOM
        },
        flows,
        to_client: false,
    }
}

fn each(frame: Frame, flows: u32) -> Packets {
    Packets {
        clients: Clients::NEXT,
        ..packets(frame, flows)
    }
}
