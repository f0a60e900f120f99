//! The site that the fuzzer runs on: every forwarding mode in both families and both
//! protocols, each with backends on ways that differ.

use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive};

use super::{
    Backend, Hop, Memory, Mode, Pool, Route, Service, Site, Standing, TCP, Tunnel, UDP, Vip, Way,
};
use crate::bytes::Mac;

/// Port ranges and single ports of the services, see [`standard`].
const FIRST_PORT: u16 = 80;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn hop(to: Mac, other: bool, mtu: u16, tags: &[(u16, u16)]) -> Hop {
    Hop {
        other,
        mtu,
        tags: tags.to_vec(),
        to,
    }
}

/// The site.
#[must_use]
pub fn standard() -> Site {
    let mut site = Site {
        vips: Vec::new(),
        services: Vec::new(),
        backends: vec![None],
        routes: routes(),
        neighbours: neighbours(),
        pool: Pool {
            addresses: [
                "192.0.2.201",
                "192.0.2.202",
                "2001:db8:2::201",
                "2001:db8:2::202",
            ]
            .map(ip)
            .to_vec(),
            first_port: 16_384,
            buckets: 2_048,
        },
    };
    for (address, held) in [
        ("203.0.113.10", true),
        ("203.0.113.11", true),
        ("203.0.113.12", false),
        ("2001:db8:1::10", true),
        ("2001:db8:1::11", true),
        ("2001:db8:1::12", false),
    ] {
        let address = ip(address);
        site.vips.push(Vip { address, held });
    }
    for address in site.pool.addresses.clone() {
        site.vips.push(Vip {
            address,
            held: true,
        });
    }
    for (vip, ranges) in [
        ("203.0.113.10", "203.0.113.11"),
        ("2001:db8:1::10", "2001:db8:1::11"),
    ] {
        single_ports(&mut site, ip(vip));
        port_ranges(&mut site, ip(vip), ip(ranges));
        shared_server(&mut site, ip(vip));
    }
    // Served, though nobody answers for it: the lease is not the services' business.
    for vip in ["203.0.113.12", "2001:db8:1::12"] {
        service(&mut site, ip(vip), 80..=80, TCP, Mode::Dsr, true, 0);
    }
    site
}

/// A port for each mode and protocol, from 80 on; one that takes turns and one by hash.
fn single_ports(site: &mut Site, vip: IpAddr) {
    let mut port = FIRST_PORT;
    for mode in Mode::ALL {
        for takes_turns in [true, false] {
            for protocol in [TCP, UDP] {
                let own_port = if takes_turns { 8_080 } else { 0 };
                service(
                    site,
                    vip,
                    port..=port,
                    protocol,
                    mode,
                    takes_turns,
                    own_port,
                );
            }
            port += 1;
        }
    }
    changing(site, vip);
    // Nobody serves these two.
    for protocol in [TCP, UDP] {
        site.services.push(Service {
            vip,
            ports: 99..=99,
            protocol,
            takes_turns: protocol == TCP,
            full_nat: false,
            memory: Memory::All,
            wheel: Vec::new(),
        });
    }
}

/// Services by hash that remember only what changes, from port 110 on.
fn changing(site: &mut Site, vip: IpAddr) {
    let mut port = 110;
    for mode in [Mode::Dsr, Mode::Ip4, Mode::Ip6, Mode::Gue4, Mode::Gue6] {
        for place in 0..3 {
            for protocol in [TCP, UDP] {
                service(site, vip, port..=port, protocol, mode, false, 0);
                let service = site.services.last_mut().expect("just made");
                service.memory = match place {
                    0 => Memory::Nothing,
                    1 => Memory::Changes {
                        before: service.wheel.pop().expect("three backends"),
                    },
                    _ => Memory::Rest,
                };
            }
            port += 1;
        }
    }
}

fn port_ranges(site: &mut Site, vip: IpAddr, every: IpAddr) {
    service(site, vip, 7_000..=7_099, TCP, Mode::Dsr, true, 0);
    service(site, vip, 7_050..=7_199, UDP, Mode::Nat, false, 0);
    service(site, vip, 7_100..=7_199, TCP, Mode::Nat, true, 0);
    service(site, vip, 7_200..=7_299, TCP, Mode::FullNat, false, 0);
    service(site, vip, 7_200..=7_299, UDP, Mode::FullNat, true, 0);
    // A single port goes before the range that has it, and one range before the next.
    service(site, vip, 7_020..=7_020, TCP, Mode::Ip4, true, 0);
    service(site, vip, 7_000..=7_300, UDP, Mode::Gue6, true, 0);
    service(site, every, 0..=65_535, TCP, Mode::Gue4, true, 0);
    service(site, every, 53..=53, UDP, Mode::Nat, true, 5_353);
    service(site, every, 1_000..=1_999, UDP, Mode::Ip6, false, 0);
    service(site, every, 0..=65_535, UDP, Mode::Dsr, false, 0);
}

/// Three services whose backends are the same server, and a fourth of its own port.
fn shared_server(site: &mut Site, vip: IpAddr) {
    let address = server(vip, 0xfe01);
    let first = site.backends.len() as u16;
    for (place, port) in (0u16..).zip([90u16, 91, 92]) {
        let protocol = TCP;
        let place_in_site = site.services.len();
        let number = first + place;
        site.services.push(Service {
            vip,
            ports: port + 100..=port + 100,
            protocol,
            takes_turns: true,
            full_nat: false,
            memory: Memory::All,
            wheel: vec![number],
        });
        site.backends.push(Some(Backend {
            number,
            service: place_in_site,
            address,
            port: 8_081,
            mode: Mode::Nat,
            standing: Standing::Active,
            hop: way_to(number),
            tunnel: None,
            sharing: if place < 2 { number + 1 } else { 0 },
        }));
    }
}

fn service(
    site: &mut Site,
    vip: IpAddr,
    ports: RangeInclusive<u16>,
    protocol: u8,
    mode: Mode,
    takes_turns: bool,
    port: u16,
) {
    let place = site.services.len();
    let first = site.backends.len() as u16;
    let numbers = first..first + 3;
    for number in numbers.clone() {
        let is_outer6 = if mode.is_tunnel() {
            mode.is_outer6()
        } else {
            vip.is_ipv6()
        };
        let family = if is_outer6 { ip("::") } else { ip("0.0.0.0") };
        site.backends.push(Some(Backend {
            number,
            service: place,
            address: server(family, number),
            port,
            mode,
            standing: Standing::Active,
            hop: way_to(number),
            tunnel: mode.is_tunnel().then(|| tunnel(is_outer6, number)),
            sharing: 0,
        }));
    }
    site.services.push(Service {
        vip,
        ports,
        protocol,
        takes_turns,
        full_nat: mode == Mode::FullNat,
        memory: Memory::All,
        wheel: numbers.collect(),
    });
}

/// A server's address, of the family of `like`.
fn server(like: IpAddr, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match like {
        IpAddr::V4(_) => IpAddr::from([10, 0, high, low]),
        IpAddr::V6(_) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&[0xfd, 0, 0, 0x0a]);
            octets[14..].copy_from_slice(&[high, low]);
            IpAddr::from(octets)
        }
    }
}

/// Ways differ in interface, tags and width; each has a MAC address of its own.
fn way_to(number: u16) -> Hop {
    let [high, low] = number.to_be_bytes();
    let to = [2, 0, 0, 1, high, low];
    match number % 3 {
        0 => hop(to, false, 1_500, &[]),
        1 => match number / 3 % 3 {
            0 => hop(to, true, 1_400, &[(0x8100, 5)]),
            1 => hop(to, true, 1_300, &[]),
            _ => hop(to, false, 2_000, &[(0x88a8, 7)]),
        },
        _ => match number / 3 % 3 {
            0 => hop(to, false, 600, &[(0x88a8, 100), (0x8100, 6)]),
            1 => hop(to, false, 9_000, &[(0x8100, 5)]),
            _ => hop(to, true, 1_320, &[(0x8100, 5), (0x8100, 5)]),
        },
    }
}

fn tunnel(is_outer6: bool, number: u16) -> Tunnel {
    let varies = !number.is_multiple_of(4);
    let (source, varying) = match (is_outer6, varies) {
        (false, false) => ("10.9.9.9", "0.0.0.0"),
        (false, true) => ("172.16.0.0", "0.0.255.255"),
        (true, false) => ("2001:db8:9::9", "::"),
        (true, true) => ("2001:db8:9::", "::ffff:ffff:ff00"),
    };
    Tunnel {
        source: ip(source),
        varying: ip(varying),
    }
}

fn routes() -> Vec<Route> {
    let near = |mac| Way::Via(hop([2, 0, 0, 0, 0xe, mac], false, 1_500, &[]));
    let far = |mac| Way::Via(hop([2, 0, 0, 0, 0xe, mac], true, 1_300, &[(0x8100, 9)]));
    [
        ("198.51.100.128", 25, far(2)),
        ("198.51.100.0", 24, near(1)),
        ("192.0.2.0", 24, Way::OnLink),
        ("100.64.0.0", 10, Way::Kernel),
        ("2001:db8:c:0:8000::", 65, far(4)),
        ("2001:db8:c::", 64, near(3)),
        ("2001:db8:d::", 64, Way::OnLink),
        ("2001:db8:e::", 48, Way::Kernel),
    ]
    .into_iter()
    .map(|(prefix, bits, way)| Route {
        prefix: ip(prefix),
        bits,
        way,
    })
    .collect()
}

fn neighbours() -> HashMap<IpAddr, Hop> {
    [
        ("192.0.2.7", hop([2, 0, 0, 0, 0xc, 1], false, 1_500, &[])),
        (
            "192.0.2.8",
            hop([2, 0, 0, 0, 0xc, 2], true, 576, &[(0x8100, 0x123)]),
        ),
        (
            "2001:db8:d::7",
            hop(
                [2, 0, 0, 0, 0xc, 3],
                false,
                1_280,
                &[(0x8100, 2), (0x8100, 3)],
            ),
        ),
    ]
    .into_iter()
    .map(|(address, hop)| (ip(address), hop))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_port_goes_before_a_range_and_ranges_keep_their_order() {
        let site = standard();
        let vip = ip("203.0.113.10");
        let mode = |port, protocol| {
            let service = site.service(vip, port, protocol)?;
            let wheel = &site.services[service].wheel;
            site.backend(wheel[0]).map(|backend| backend.mode)
        };
        assert_eq!(mode(7_020, TCP), Some(Mode::Ip4));
        assert_eq!(mode(7_021, TCP), Some(Mode::Dsr));
        assert_eq!(mode(7_060, UDP), Some(Mode::Nat));
        assert_eq!(mode(7_300, UDP), Some(Mode::Gue6));
        assert_eq!(mode(7_300, TCP), None);
    }

    #[test]
    fn numbers_are_places_and_servers_are_one_backend_each_unless_they_share() {
        let site = standard();
        for (place, backend) in site.backends.iter().enumerate().skip(1) {
            assert_eq!(usize::from(backend.as_ref().unwrap().number), place);
        }
    }

    #[test]
    fn the_most_specific_route_wins() {
        let site = standard();
        let mtu = |client| site.route(ip(client)).map(|hop| hop.mtu);
        assert_eq!(mtu("198.51.100.200"), Some(1_300));
        assert_eq!(mtu("198.51.100.7"), Some(1_500));
        assert_eq!(mtu("192.0.2.8"), Some(576));
        assert_eq!(mtu("192.0.2.9"), None);
        assert_eq!(mtu("2001:db8:c:0:9000::1"), Some(1_300));
        assert_eq!(mtu("2001:db8:e::1"), None);
    }
}
