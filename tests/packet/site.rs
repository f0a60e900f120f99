//! The load balancer that the fixture tables run on: VIPs, services, servers, routes.

use lb_common::{
    abi::{
        Backend, BackendState, Endpoint, Family, Forward, Hop, Keeping, Mac, NO_GROUP, Route, ipv4,
    },
    tags::Tags,
    wheel::Index,
};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    frame::Socket,
    modes,
    rig::{Lent, Rig, lend},
};

/// Our interface. Its place in the device map is 0, which is empty: a packet that leaves
/// by the interface that it came by is never redirected.
pub const OWN: Mac = [2, 0, 0, 0, 0, 1];
/// Another interface of ours: loopback, since every namespace has one.
pub const OTHER: Mac = [2, 0, 0, 0, 0, 2];
pub const OTHER_IFINDEX: u32 = 1;
pub const OTHER_SLOT: u32 = 5;
/// A place in the device map where no interface is.
const GONE_SLOT: u16 = 6;
pub const BROADCAST: Mac = [0xff; 6];
pub const CLIENT_MAC: Mac = [2, 0, 0, 0, 0xc, 1];
pub const ROUTER_MAC: Mac = [2, 0, 0, 0, 0xe, 1];
pub const FAR_ROUTER_MAC: Mac = [2, 0, 0, 0, 0xe, 2];

/// A VIP that is held without a deadline.
pub const VIP: [u8; 4] = [203, 0, 113, 10];
/// A VIP whose lease has run out.
pub const EXPIRED: [u8; 4] = [203, 0, 113, 11];
/// A VIP whose lease runs for an hour.
pub const LEASED: [u8; 4] = [203, 0, 113, 12];
/// The group of each.
pub const EXPIRED_GROUP: u32 = 1;
pub const LEASED_GROUP: u32 = 2;
/// None of our VIPs.
pub const NOT_VIP: [u8; 4] = [203, 0, 113, 200];

/// A client behind the router, one behind the other interface's router, one on the
/// link, one on the link whose MAC nobody knows, and one without a route.
pub const CLIENT: [u8; 4] = [198, 51, 100, 7];
pub const FAR_CLIENT: [u8; 4] = [198, 51, 100, 200];
pub const NEIGHBOUR: [u8; 4] = [192, 0, 2, 7];
pub const SILENT_NEIGHBOUR: [u8; 4] = [192, 0, 2, 8];
pub const UNROUTED: [u8; 4] = [100, 64, 0, 1];

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
/// The port of every `nat` server.
pub const SERVER_PORT: u16 = 8_080;

/// The longest IP packet that the ways take, where nothing else is said.
pub const MTU: u16 = 1_500;

/// Where `full-nat` sends from.
pub const POOL4: [u8; 4] = [192, 0, 2, 201];
pub const POOL6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1];

/// Four services share this server.
pub const SHARED_SERVER: Socket = ([10, 0, 0, 21], SERVER_PORT);

/// Where a backend is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    Same,
    Other,
    Gone,
}

impl Egress {
    /// Its place in the device map, and our MAC address there.
    pub fn interface(self) -> (u16, Mac) {
        match self {
            Egress::Same => (0, OWN),
            Egress::Other => (OTHER_SLOT as u16, OTHER),
            Egress::Gone => (GONE_SLOT, OTHER),
        }
    }
}

/// A backend's MAC address.
pub fn mac_of(backend: u16) -> Mac {
    let [high, low] = backend.to_be_bytes();
    [2, 0, 0, 1, high, low]
}

/// A `nat` backend's own address and port.
pub fn server_of(backend: u16) -> Socket {
    let [high, low] = backend.to_be_bytes();
    ([10, 0, high, low], SERVER_PORT)
}

/// A `dsr` backend's record.
pub fn dsr(number: u16, port: u16, protocol: u8, egress: Egress) -> Backend {
    let (slot, source) = egress.interface();
    Backend {
        address: ipv4(server_of(number).0),
        vip: ipv4(VIP),
        port: port.to_be(),
        vip_port: port.to_be(),
        egress: slot as u8,
        mtu: MTU,
        destination: mac_of(number),
        source,
        state: BackendState::Active as u8,
        forward: Forward::Dsr as u8,
        protocol,
        ..Backend::FREE
    }
}

/// A `nat` backend's record.
pub fn nat(number: u16, vip_port: u16, protocol: u8, egress: Egress) -> Backend {
    Backend {
        port: SERVER_PORT.to_be(),
        vip_port: vip_port.to_be(),
        forward: Forward::Nat as u8,
        ..dsr(number, vip_port, protocol, egress)
    }
}

/// Nanoseconds of the clock that leases run by.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A program with the whole site.
pub fn rig() -> Lent {
    let mut rig = lend();
    fill(&mut rig);
    rig
}

/// Puts the site into the maps.
pub fn fill(rig: &mut Rig) {
    rig.endpoint(&Endpoint::vip(Family::V4, ipv4(VIP), NO_GROUP, None));
    let hour = 3_600_000_000_000;
    let leases = [
        (EXPIRED, EXPIRED_GROUP, monotonic_ns()),
        (LEASED, LEASED_GROUP, monotonic_ns() + hour),
    ];
    for (vip, group, deadline) in leases {
        rig.tables.lease(group).hold_until(deadline);
        rig.endpoint(&Endpoint::vip(Family::V4, ipv4(vip), group, None));
    }
    direct(rig);
    translated(rig);
    broken(rig);
    modes::fill(rig);
    routes(rig);
}

fn direct(rig: &mut Rig) {
    for (number, port, protocol, egress) in [
        (1, 80, TCP, Egress::Same),
        (2, 81, TCP, Egress::Other),
        (3, 82, TCP, Egress::Gone),
        (4, 80, UDP, Egress::Same),
        (5, 81, UDP, Egress::Other),
    ] {
        rig.backend(number, &dsr(number, port, protocol, egress));
        rig.service(port, protocol, Index::Counter, &[number]);
    }
    // One with two backends, for one of them to fail.
    for number in [6, 7] {
        rig.backend(number, &dsr(number, 84, TCP, Egress::Same));
    }
    rig.service(84, TCP, Index::Counter, &[6, 7]);
    rig.service(99, TCP, Index::Counter, &[]);
    rig.service_at(
        (VIP.into(), 60_086, TCP),
        Keeping::Changes,
        Index::Hash,
        &[1],
    );
    rig.service(99, UDP, Index::Hash, &[]);
}

fn translated(rig: &mut Rig) {
    for (number, port, protocol, egress) in [
        (11, 90, TCP, Egress::Same),
        (12, 91, TCP, Egress::Other),
        (13, 90, UDP, Egress::Same),
        (14, 91, UDP, Egress::Other),
    ] {
        rig.backend(number, &nat(number, port, protocol, egress));
        rig.service(port, protocol, Index::Counter, &[number]);
        rig.server(server_of(number), protocol, number, port);
    }
    for (number, vip_port, sharing) in [(21, 93, 22), (22, 94, 23), (23, 95, 24), (24, 96, 0)] {
        let backend = Backend {
            address: ipv4(SHARED_SERVER.0),
            sharing,
            ..nat(number, vip_port, TCP, Egress::Same)
        };
        rig.backend(number, &backend);
        rig.service(vip_port, TCP, Index::Counter, &[number]);
    }
    rig.server(SHARED_SERVER, TCP, 21, 93);
}

/// What no userspace should ever write.
fn broken(rig: &mut Rig) {
    rig.service(100, TCP, Index::Counter, &[0]);
    let backend = Backend {
        forward: 9,
        ..dsr(31, 101, TCP, Egress::Same)
    };
    rig.backend(31, &backend);
    rig.service(101, TCP, Index::Counter, &[31]);
}

/// A way to a next hop.
pub fn hop(egress: Egress, destination: Mac) -> Hop {
    let (slot, source) = egress.interface();
    Hop {
        egress: slot,
        mtu: MTU,
        tags: Tags::NONE,
        destination,
        source,
        reserved: [0; 4],
    }
}

fn routes(rig: &mut Rig) {
    let route = |prefix: [u8; 4], bits: u32, kind, hop| Route {
        prefix: u32::from_ne_bytes(prefix),
        mask: (u32::MAX << (32 - bits)).to_be(),
        kind,
        reserved: 0,
        hop,
    };
    let (near, far) = (
        hop(Egress::Same, ROUTER_MAC),
        hop(Egress::Other, FAR_ROUTER_MAC),
    );
    let four = [
        route([198, 51, 100, 128], 25, Route::VIA, far),
        route([192, 0, 2, 0], 24, Route::ON_LINK, near),
        route([198, 51, 100, 0], 24, Route::VIA, near),
        modes::far_route(),
    ];
    let neighbour = (NEIGHBOUR.into(), hop(Egress::Same, CLIENT_MAC));
    rig.routes(&four, &modes::routes(), &[neighbour]);
}
