//! A VIP of each IP version, with a service for every way to a backend, by TCP and UDP.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    abi::{
        Backend, BackendState, Endpoint, Forward, Hop, Keeping, NO_GROUP, Range, Route, Route6,
        Tunnel,
    },
    tags::Tags,
    wheel::Index,
};

use crate::{
    rig::{Place, Rig, words},
    site::{
        self, CLIENT, EXPIRED_GROUP, Egress, FAR_ROUTER_MAC, MTU, POOL4, POOL6, ROUTER_MAC, TCP,
        UDP, mac_of, monotonic_ns,
    },
};

/// A service: its port, the mode, the backend's own port (0: packets keep theirs), the
/// longest packet that the way takes, its tags.
struct Service(u16, Forward, u16, u16, Tags);

pub const ONE_TAG: Tags = Tags::NONE.within(5, false);
pub const TWO_TAGS: Tags = Tags::NONE.within(6, false).within(100, true);
/// The longest packet that narrow ways take.
pub const NARROW: u16 = 1_300;
/// GUE's port.
pub const GUE: u16 = 6_080;

#[rustfmt::skip]
const SERVICES: [Service; 21] = [
    Service(80, Forward::Dsr, 0, MTU, Tags::NONE),
    Service(81, Forward::Dsr, 0, MTU, ONE_TAG),
    Service(82, Forward::Dsr, 0, MTU, TWO_TAGS),
    Service(83, Forward::Dsr, 0, NARROW, Tags::NONE),
    Service(90, Forward::Nat, 8_080, MTU, Tags::NONE),
    Service(91, Forward::Nat, 0, MTU, Tags::NONE),
    Service(92, Forward::Nat, 8_080, MTU, ONE_TAG),
    Service(93, Forward::Nat, 8_080, NARROW, Tags::NONE),
    Service(70, Forward::FullNat, 8_080, MTU, Tags::NONE),
    Service(71, Forward::FullNat, 0, MTU, Tags::NONE),
    Service(73, Forward::FullNat, 8_080, NARROW, Tags::NONE),
    Service(60, Forward::Ip4, 0, MTU, Tags::NONE),
    Service(61, Forward::Ip6, 0, MTU, Tags::NONE),
    Service(62, Forward::Gue4, 0, MTU, Tags::NONE),
    Service(63, Forward::Gue6, 0, MTU, Tags::NONE),
    Service(64, Forward::Ip4, 0, MTU, ONE_TAG),
    Service(65, Forward::Gue6, 0, MTU, TWO_TAGS),
    // Ranges, by their first port.
    Service(7_000, Forward::Dsr, 0, MTU, Tags::NONE),
    Service(7_050, Forward::Nat, 0, MTU, Tags::NONE),
    Service(7_200, Forward::FullNat, 0, MTU, Tags::NONE),
    // A single port inside a range.
    Service(7_020, Forward::Ip4, 0, MTU, Tags::NONE),
];

/// The ranges: first, last, and whether TCP and UDP have them.
const RANGES: [(u16, u16, bool, bool); 3] = [
    (7_000, 7_099, true, false),
    (7_050, 7_149, true, true),
    (7_200, 7_299, true, true),
];

/// The backends of the VIPs whose services are on any port: by TCP and UDP.
const ANY_PORT: u16 = 190;
/// A service that has nobody.
pub const NOBODY_PORT: u16 = 99;

/// Both IP versions.
pub const VERSIONS: [bool; 2] = [false, true];
pub const PROTOCOLS: [u8; 2] = [TCP, UDP];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn pick(six: bool, four_text: &str, six_text: &str) -> IpAddr {
    ip(if six { six_text } else { four_text })
}

/// The VIP of this version. No few changed bytes make it of the other tables' VIPs.
pub fn vip(six: bool, port: u16) -> SocketAddr {
    (pick(six, "192.88.77.20", "2001:db8:1::20"), port).into()
}

/// A VIP whose services are on any port.
pub fn open_vip(six: bool, port: u16) -> SocketAddr {
    (pick(six, "192.88.77.21", "2001:db8:1::21"), port).into()
}

/// A VIP whose lease has run out.
pub fn lost_vip(six: bool) -> IpAddr {
    pick(six, "192.88.77.22", "2001:db8:1::22")
}

/// Our address that packets in `full-nat` come from.
pub fn pool(six: bool) -> IpAddr {
    if six { POOL6.into() } else { POOL4.into() }
}

/// A client behind the router.
pub fn client(six: bool, port: u16) -> SocketAddr {
    let four = IpAddr::from(CLIENT);
    (if six { ip("2001:db8:c::7") } else { four }, port).into()
}

/// One behind the other interface's router, on a way with a tag that is narrow.
pub fn far_client(six: bool, port: u16) -> SocketAddr {
    (pick(six, "198.18.0.7", "2001:db8:f::7"), port).into()
}

/// One that the kernel has to find.
pub fn unrouted(six: bool, port: u16) -> SocketAddr {
    (pick(six, "100.64.0.1", "2001:db8:e::1"), port).into()
}

/// Somebody whom we have nothing to do with.
pub fn stranger(six: bool, port: u16) -> SocketAddr {
    (pick(six, "203.0.113.99", "2001:db8:99::9"), port).into()
}

/// The backend of a service.
pub fn backend(six: bool, port: u16, protocol: u8) -> u16 {
    let place = SERVICES.iter().position(|service| service.0 == port);
    let place = place.expect("a service's port") as u16;
    100 + place * 4 + u16::from(six) * 2 + u16::from(protocol == UDP)
}

/// The backend of the service on any port.
pub fn any_port(six: bool, protocol: u8) -> u16 {
    ANY_PORT + u16::from(six) * 2 + u16::from(protocol == UDP)
}

/// Where a backend is, and its port.
pub fn server(six: bool, number: u16, port: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    let address = if six {
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfd, 0x0a]);
        octets[14..].copy_from_slice(&[high, low]);
        IpAddr::from(octets)
    } else {
        IpAddr::from([10, 1, high, low])
    };
    (address, port).into()
}

/// The outer source, less the bits that vary, and those.
pub fn outer_source(six: bool) -> (IpAddr, IpAddr) {
    (
        pick(six, "172.16.0.0", "2001:db8:9::"),
        pick(six, "0.0.255.255", "::ffff:ffff:ff00"),
    )
}

fn is_outer6(six: bool, mode: Forward) -> bool {
    match mode {
        Forward::Ip4 | Forward::Gue4 => false,
        Forward::Ip6 | Forward::Gue6 => true,
        Forward::Dsr | Forward::Nat | Forward::FullNat => six,
    }
}

fn record(six: bool, number: u16, place: Place, service: &Service) -> Backend {
    let &Service(_, mode, port, mtu, tags) = service;
    Backend {
        address: words(server(is_outer6(six, mode), number, 0).ip()).1,
        vip: words(place.0).1,
        port: port.to_be(),
        vip_port: place.1.to_be(),
        mtu,
        tags,
        destination: mac_of(number),
        source: site::OWN,
        state: BackendState::Active as u8,
        forward: mode as u8,
        protocol: place.2,
        ..Backend::FREE
    }
}

/// Puts it all into the maps.
pub fn fill(rig: &mut Rig) {
    for six in VERSIONS {
        let ranges = RANGES.map(|(first, last, tcp, udp)| (Range { first, last }, tcp, udp));
        let (family, address) = words(vip(six, 0).ip());
        let record = Endpoint::vip(family, address, NO_GROUP, None).with_ranges(&ranges);
        rig.endpoint(&record);
        let (family, address) = words(open_vip(six, 0).ip());
        let all = Range {
            first: 0,
            last: u16::MAX,
        };
        let record = Endpoint::vip(family, address, NO_GROUP, None);
        rig.endpoint(&record.with_ranges(&[(all, true, true)]));
        let (family, address) = words(lost_vip(six));
        rig.tables.lease(EXPIRED_GROUP).hold_until(monotonic_ns());
        rig.endpoint(&Endpoint::vip(family, address, EXPIRED_GROUP, None));
        let (family, address) = words(pool(six));
        let place = Some(u8::from(six));
        rig.endpoint(&Endpoint::vip(family, address, NO_GROUP, place));
        for protocol in PROTOCOLS {
            for service in &SERVICES {
                let number = backend(six, service.0, protocol);
                put(
                    rig,
                    six,
                    number,
                    (vip(six, 0).ip(), service.0, protocol),
                    service,
                );
            }
            let mode = if protocol == TCP {
                Forward::Nat
            } else {
                Forward::Dsr
            };
            let service = Service(0, mode, 0, MTU, Tags::NONE);
            let place = (open_vip(six, 0).ip(), 0, protocol);
            put(rig, six, any_port(six, protocol), place, &service);
            let place = (vip(six, 0).ip(), NOBODY_PORT, protocol);
            rig.service_at(place, Keeping::Flows, Index::Counter, &[]);
        }
    }
}

fn put(rig: &mut Rig, six: bool, number: u16, place: Place, service: &Service) {
    let mode = service.1;
    rig.backend(number, &record(six, number, place, service));
    let (is_udp, is_tunnel) = match mode {
        Forward::Gue4 | Forward::Gue6 => (true, true),
        Forward::Ip4 | Forward::Ip6 => (false, true),
        Forward::Dsr | Forward::Nat | Forward::FullNat => (false, false),
    };
    if is_tunnel {
        let (source, varying) = outer_source(is_outer6(six, mode));
        let tunnel = Tunnel {
            source: words(source).1,
            varying: words(varying).1,
            port: if is_udp { GUE.to_be() } else { 0 },
            ..Tunnel::NONE
        };
        rig.tunnel(number, &tunnel);
    }
    let keeping = if mode == Forward::FullNat {
        Keeping::Ports
    } else {
        Keeping::Flows
    };
    rig.service_at(place, keeping, Index::Counter, &[number]);
    if mode == Forward::Nat {
        let server = server(six, number, service.2);
        rig.server_at((server.ip(), server.port()), number, place);
    }
}

/// The narrow way to far clients.
fn far() -> Hop {
    Hop {
        mtu: NARROW,
        tags: ONE_TAG,
        ..site::hop(Egress::Other, FAR_ROUTER_MAC)
    }
}

/// The route to far clients of IPv4.
pub fn far_route() -> Route {
    Route {
        prefix: u32::from_ne_bytes([198, 18, 0, 0]),
        mask: u32::from_ne_bytes([255, 255, 0, 0]),
        kind: Route::VIA,
        reserved: 0,
        hop: far(),
    }
}

/// The routes to clients of IPv6.
pub fn routes() -> [Route6; 2] {
    let route = |prefix: &str, hop| Route6 {
        prefix: words(ip(prefix)).1,
        mask: words(ip("ffff:ffff:ffff:ffff::")).1,
        kind: Route::VIA,
        reserved: 0,
        hop,
    };
    let near = site::hop(Egress::Same, ROUTER_MAC);
    [route("2001:db8:c::", near), route("2001:db8:f::", far())]
}
