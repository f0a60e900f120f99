//! One service over a pool of servers, for what happens to flows.

use lb_common::{
    abi::{Endpoint, Family, Identity, NO_GROUP, ipv4},
    verdict::Verdict,
    wheel::Index,
};

use crate::{
    frame::{Frame, Socket},
    rig::{Lent, Rig, lend},
    site::{Egress, TCP, UDP, VIP, dsr},
};

/// The service's port, by TCP over backends 1, 2, … and by UDP over [`UDP_FIRST`], ….
pub const PORT: u16 = 80;
pub const UDP_FIRST: u16 = 51;
/// Servers of each.
const SERVERS: u16 = 8;

/// A rig whose TCP service has this wheel; its UDP service has the same with the
/// UDP backends.
pub fn pool(wheel: &[u16]) -> Lent {
    let mut rig = lend();
    fill(&mut rig, wheel);
    rig
}

/// Likewise, with a flow table of this make.
pub fn pool_with(identity: Identity, wheel: &[u16]) -> Rig {
    let mut rig = Rig::with(identity);
    fill(&mut rig, wheel);
    rig
}

fn fill(rig: &mut Rig, wheel: &[u16]) {
    let vip = Endpoint::vip(Family::V4, ipv4(VIP), NO_GROUP, None);
    rig.endpoint(&vip);
    for number in 1..=SERVERS {
        rig.backend(number, &dsr(number, PORT, TCP, Egress::Same));
        let number = number + UDP_FIRST - 1;
        rig.backend(number, &dsr(number, PORT, UDP, Egress::Same));
    }
    rig.service(PORT, TCP, Index::Counter, wheel);
    let wheel: Vec<u16> = wheel.iter().map(|&number| number + UDP_FIRST - 1).collect();
    rig.service(PORT, UDP, Index::Counter, &wheel);
}

/// The n-th client.
pub fn client(n: u32) -> Socket {
    let [_, a, b, c] = n.to_be_bytes();
    ([10, 100 + a, b, c], 40_000 + n as u16 % 20_000)
}

/// Sends a segment of a client's: verdict, and the backend that it went to.
pub fn tcp(rig: &mut Rig, client: Socket, flags: &str) -> (Verdict, u16) {
    let sent = rig.send(&Frame::tcp(client, (VIP, PORT), flags).bytes());
    (sent.verdict, sent.backend())
}

/// Sends a datagram of a client's.
pub fn udp(rig: &mut Rig, client: Socket) -> (Verdict, u16) {
    let sent = rig.send(&Frame::udp(client, (VIP, PORT), b"?").bytes());
    (sent.verdict, sent.backend())
}

/// Establishes a connection; its backend.
pub fn connect(rig: &mut Rig, client: Socket) -> u16 {
    let (verdict, backend) = tcp(rig, client, "S");
    assert_eq!(verdict, Verdict::ForwardNew);
    assert_eq!(tcp(rig, client, "A"), (Verdict::ForwardKnown, backend));
    backend
}

/// Clients whose connections all lie in one bucket of the flow table.
pub fn in_one_bucket(rig: &Rig, protocol: u8, count: usize) -> Vec<Socket> {
    (0..)
        .map(client)
        .filter(|&client| rig.place(client, PORT, protocol).0 == 0)
        .take(count)
        .collect()
}
