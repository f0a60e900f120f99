use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::{
    abi::{Keeping, Route, Tunnel},
    wheel::Index,
};
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily, RouteNetlinkMessage as M,
        address::{AddressAttribute, AddressMessage},
        link::{
            InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
            VlanProtocol,
        },
        neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState},
    },
};

use super::*;

pub(in crate::daemon) const ETH0: u32 = 2;
pub(in crate::daemon) const ETH1: u32 = 3;
/// VLAN 100 (802.1ad) on eth1, and VLAN 7 in it.
const OUTER: u32 = 10;
pub(in crate::daemon) const INNER: u32 = 11;

pub(in crate::daemon) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(in crate::daemon) fn link(ifindex: u32, name: &str, mtu: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, ifindex as u8]),
        LinkAttribute::Mtu(mtu),
    ];
    message
}

fn vlan(ifindex: u32, parent: u32, id: u16, protocol: VlanProtocol) -> LinkMessage {
    let mut message = link(ifindex, &format!("vlan{id}"), 1_400);
    let data = vec![InfoVlan::Id(id), InfoVlan::Protocol(protocol)];
    message.attributes.extend([
        LinkAttribute::Link(parent),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(data)),
        ]),
    ]);
    message
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

pub(in crate::daemon) fn address(ifindex: u32, address: &str, length: u8) -> M {
    let mut message = AddressMessage::default();
    message.header.family = family(ip(address));
    message.header.index = ifindex;
    message.header.prefix_len = length;
    message.attributes = vec![
        AddressAttribute::Address(ip(address)),
        AddressAttribute::Local(ip(address)),
    ];
    M::NewAddress(message)
}

fn neighbour(ifindex: u32, address: &str) -> M {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip(address));
    message.header.ifindex = ifindex;
    message.header.state = NeighbourState::Reachable;
    message.attributes = vec![
        NeighbourAttribute::Destination(ip(address).into()),
        NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 1, ifindex as u8]),
    ];
    M::NewNeighbour(message)
}

/// A route, by a router if there is one.
pub(in crate::daemon) fn route(
    ifindex: u32,
    network: &str,
    length: u8,
    gateway: Option<&str>,
) -> M {
    M::NewRoute(match ip(network) {
        IpAddr::V4(network) => {
            let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(network, length)
                .output_interface(ifindex);
            if let Some(gateway) = gateway {
                route = route.gateway(gateway.parse().expect("an address"));
            }
            route.build()
        }
        IpAddr::V6(network) => {
            let mut route = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(network, length)
                .output_interface(ifindex);
            if let Some(gateway) = gateway {
                route = route.gateway(gateway.parse().expect("an address"));
            }
            route.build()
        }
    })
}

/// Two interfaces, of which the second has VLANs; servers on each, a router on the first.
pub(in crate::daemon) fn net() -> NetState {
    NetState::from_dump(&[
        M::NewLink(link(ETH0, "eth0", 1_500)),
        M::NewLink(link(ETH1, "eth1", 9_000)),
        M::NewLink(vlan(OUTER, ETH1, 100, VlanProtocol::Ieee8021Ad)),
        M::NewLink(vlan(INNER, OUTER, 7, VlanProtocol::Ieee8021Q)),
        address(ETH0, "192.0.2.2", 24),
        address(ETH0, "2001:db8::2", 64),
        address(INNER, "10.0.7.1", 24),
        route(ETH0, "192.0.2.0", 24, None),
        route(ETH0, "2001:db8::", 64, None),
        route(ETH0, "fe80::", 64, None),
        route(INNER, "10.0.7.0", 24, None),
        route(ETH0, "0.0.0.0", 0, Some("192.0.2.1")),
        route(ETH0, "::", 0, Some("fe80::1")),
        neighbour(ETH0, "192.0.2.1"),
        neighbour(ETH0, "192.0.2.11"),
        neighbour(ETH0, "fe80::1"),
        neighbour(ETH0, "2001:db8::11"),
        neighbour(INNER, "10.0.7.11"),
    ])
}

pub(in crate::daemon) fn ports() -> Vec<Port> {
    let port = |name: &str, ifindex, egress| Port {
        name: name.to_owned(),
        ifindex,
        egress,
    };
    vec![port("eth0", ETH0, 4), port("eth1", ETH1, 5)]
}

/// A configuration with one service of one backend.
fn config(tables: &str, service: &str, backend: &str) -> Config {
    let text = format!(
        "[node]\ninterfaces = [\"eth0\", \"eth1\"]\n{tables}\n[[service]]\nname = \"web\"\n\
         protocol = \"udp\"\n{service}\n[[service.backend]]\nname = \"one\"\n\
         address = \"{backend}\"\n"
    );
    Config::parse("test", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn service(vip: &str, port: &str, rest: &str) -> String {
    format!("vip = \"{vip}\"\nport = {port}\n{rest}")
}

const GUE: &str = "forward = \"tunnel\"\nencapsulation = \"gue\"\ngue_port = 6080";
const IPIP: &str = "forward = \"tunnel\"\nencapsulation = \"ipip\"";

/// What becomes of the only backend, and of the way to it.
fn one(config: &Config, net: &NetState) -> (TargetBackend, Way) {
    let (target, ways) = aims(config, |_: &TargetId| None, net, &ports());
    let service = target.services.into_values().next().expect("a service");
    let (_, backend) = service.backends.into_iter().next().expect("a backend");
    (backend, ways.into_values().next().expect("a way"))
}

fn known(config: &Config) -> (abi::Hop, Tunnel) {
    let (backend, way) = one(config, &net());
    match backend.way {
        plan::Way::Known(hop, tunnel) => (hop, tunnel),
        other => panic!("{other:?}: {way:?}"),
    }
}

/// The planned way without one, and why.
fn missing(config: &Config, net: &NetState) -> (plan::Way, String) {
    let (backend, way) = one(config, net);
    (backend.way, way.expect_err("no way").reason)
}

#[test]
fn outer_sources_vary_where_there_is_a_prefix() {
    let tunnel = "[tunnel]\nsource = [\"172.16.0.0/12\", \"2001:db8:0:ff::/64\"]";
    let web = service("2001:db8:9::1", "443", IPIP);
    let (_, to_v4) = known(&config(tunnel, &web, "192.0.2.11"));
    assert_eq!(plan::ip(abi::Family::V4, to_v4.source), ip("172.16.0.0"));
    assert_eq!(plan::ip(abi::Family::V4, to_v4.varying), ip("0.15.255.255"));
    let (_, to_v6) = known(&config(tunnel, &web, "2001:db8::11"));
    assert_eq!(
        plan::ip(abi::Family::V6, to_v6.source),
        ip("2001:db8:0:ff::")
    );
    let varying = plan::ip(abi::Family::V6, to_v6.varying);
    assert_eq!(varying, ip("::ffff:ffff:ffff:ffff"));
    assert_eq!((to_v4.port, to_v6.port), (0, 0));
}

#[test]
fn gue_comes_from_the_node_itself_without_a_prefix() {
    let gue = service("203.0.113.10", "443", GUE);
    let (hop, tunnel) = known(&config("", &gue, "2001:db8::11"));
    assert_eq!(plan::ip(abi::Family::V6, tunnel.source), ip("2001:db8::2"));
    assert_eq!((tunnel.varying, tunnel.port), ([0; 4], 6_080u16.to_be()));
    assert_eq!((hop.egress, hop.mtu), (4, 1_500));
    let (backend, way) = one(&config("", &gue, "2001:db8::11"), &net());
    assert_eq!(backend.forward, abi::Forward::Gue6);
    assert_eq!(way.expect("a way").path_mtu(), 1_500 - 48);
}

#[test]
fn a_vlan_is_a_part_of_its_interface() {
    let nat = service("203.0.113.10", "443", "forward = \"nat\"");
    let (hop, _) = known(&config("", &nat, "10.0.7.11"));
    assert_eq!((hop.egress, hop.mtu), (5, 1_400));
    assert_eq!(hop.tags.outer(), Some((0x88a8, 100)));
    assert_eq!(hop.tags.inner(), Some((0x8100, 7)));
    assert_eq!(hop.source, [2, 0, 0, 0, 0, INNER as u8]);
}

#[test]
fn what_bars_the_way_and_what_only_hides_it() {
    let dsr = service("203.0.113.10", "443", "forward = \"dsr\"");
    let unresolved = missing(&config("", &dsr, "192.0.2.99"), &net());
    assert_eq!(unresolved.0, plan::Way::Unknown);
    assert!(unresolved.1.contains("must answer ARP"), "{}", unresolved.1);

    let behind = missing(&config("", &dsr, "198.51.100.1"), &net());
    assert_eq!(behind.0, plan::Way::Barred);
    assert!(behind.1.contains("behind the router 192.0.2.1"));

    let mut down = link(ETH0, "eth0", 1_500);
    down.header.flags = LinkFlags::empty();
    let down = NetState::from_dump(&[
        M::NewLink(down),
        address(ETH0, "192.0.2.2", 24),
        route(ETH0, "192.0.2.0", 24, None),
    ]);
    let cut = missing(&config("", &dsr, "192.0.2.11"), &down);
    assert_eq!(cut.0, plan::Way::Barred);
    assert!(cut.1.contains("link eth0 is down"), "{}", cut.1);

    let unrouted = NetState::from_dump(&[M::NewLink(link(ETH0, "eth0", 1_500))]);
    let hidden = missing(&config("", &dsr, "192.0.2.11"), &unrouted);
    assert_eq!(hidden.0, plan::Way::Unknown);
    assert!(hidden.1.contains("no route"), "{}", hidden.1);

    let other = NetState::from_dump(&[
        M::NewLink(link(9, "eth9", 1_500)),
        route(9, "192.0.2.0", 24, None),
        neighbour(9, "192.0.2.11"),
    ]);
    let elsewhere = missing(&config("", &dsr, "192.0.2.11"), &other);
    assert_eq!(elsewhere.0, plan::Way::Barred);
    assert!(
        elsewhere
            .1
            .contains("eth9, which is not in [node] interfaces")
    );
}

#[test]
fn a_way_must_be_wide_enough_for_what_is_never_shortened() {
    let tunnel = "[tunnel]\nsource = [\"172.16.0.0/16\"]";
    let narrow = |mtu| {
        NetState::from_dump(&[
            M::NewLink(link(ETH0, "eth0", mtu)),
            route(ETH0, "192.0.2.0", 24, None),
            neighbour(ETH0, "192.0.2.11"),
        ])
    };
    for (vip, least) in [("203.0.113.10", 576 + 20), ("2001:db8:9::1", 1_280 + 20)] {
        let config = config(tunnel, &service(vip, "443", IPIP), "192.0.2.11");
        assert!(one(&config, &narrow(least)).1.is_ok(), "{vip}");
        let (way, reason) = missing(&config, &narrow(least - 1));
        assert_eq!(way, plan::Way::Barred);
        assert!(reason.contains(&format!("need {least}")), "{reason}");
    }
}

#[test]
fn the_pool_has_its_ipv4_addresses_first() {
    let tables =
        "[full_nat]\naddresses = [\"2001:db8::200\", \"192.0.2.200\"]\nports = \"2000-2020\"";
    let web = service("203.0.113.10", "443", "forward = \"full-nat\"");
    let config = config(tables, &web, "192.0.2.11");
    let (shape, addresses) = pool(&config);
    let (target, _) = aims(&config, |_: &TargetId| None, &net(), &ports());
    assert_eq!(addresses, [ip("192.0.2.200"), ip("2001:db8::200")]);
    assert_eq!(target.pool, addresses);
    let want = abi::Pool {
        first_port: 2_000,
        buckets: 2,
        v4: 1,
        v6: 1,
    };
    assert_eq!(shape, want);
    let service = target.services.values().next().expect("a service");
    assert_eq!(service.keeping, Keeping::Ports);
    // Neighbours ask for the pool's addresses as for VIPs.
    let asked = groups(&config, &net(), &ports());
    let v6: Ipv6Addr = "2001:db8::200".parse().expect("an address");
    assert_eq!(
        asked.into_iter().collect::<Vec<_>>(),
        [ETH0, ETH1, OUTER, INNER].map(|link| (link, v6))
    );
}

#[test]
fn ports_of_services_are_told_by_their_first() {
    let all = |port: &str| {
        let dsr = service("203.0.113.10", port, "forward = \"dsr\"");
        let config = config("", &dsr, "192.0.2.11");
        let (target, _) = aims(&config, |_: &TargetId| None, &net(), &ports());
        let (key, service) = target.services.into_iter().next().expect("a service");
        (key.port, service.range, service.backends[0].0.port())
    };
    let range = |first, last| Some(Range { first, last });
    assert_eq!(all("443"), (443, None, 443));
    assert_eq!(all("\"5000-5999\""), (5_000, range(5_000, 5_999), 0));
    assert_eq!(all("0"), (0, range(0, 65_535), 0));
}

#[test]
fn the_way_back_is_known_for_the_families_of_clients() {
    let of = |vip: &str, forward: &str, backend: &str| {
        let forward = format!("forward = \"{forward}\"");
        let config = config("", &service(vip, "443", &forward), backend);
        let wanted = wanted_hops(&config, &net(), &ports());
        (
            aims(&config, |_: &TargetId| None, &net(), &ports()).0,
            wanted,
        )
    };
    let (dsr, _) = of("203.0.113.10", "dsr", "192.0.2.11");
    assert!(dsr.routes.is_empty() && dsr.routes6.is_empty() && dsr.neighbours.is_empty());

    let (nat, wanted) = of("203.0.113.10", "nat", "10.0.7.11");
    let kinds: Vec<u32> = nat.routes.iter().map(|route| route.kind).collect();
    assert_eq!(kinds, [Route::ON_LINK, Route::ON_LINK, Route::VIA]);
    assert!(nat.routes6.is_empty());
    assert_eq!(nat.neighbours[&ip("10.0.7.11")].egress, 5);
    assert_eq!(wanted, [ip("10.0.7.11"), ip("192.0.2.1")]);

    let (nat6, wanted) = of("2001:db8:9::1", "nat", "2001:db8::11");
    assert!(nat6.routes.is_empty());
    // Not the link-local prefix, which each link has.
    let kinds: Vec<u32> = nat6.routes6.iter().map(|route| route.kind).collect();
    assert_eq!(kinds, [Route::ON_LINK, Route::VIA]);
    assert_eq!(nat6.routes6[1].hop.destination, [2, 0, 0, 0, 1, 2]);
    let there: Vec<_> = nat6.neighbours.keys().copied().collect();
    assert_eq!(there, [ip("2001:db8::11")]);
    assert_eq!(wanted, [ip("2001:db8::11"), ip("fe80::1")]);
}

#[test]
fn a_family_that_the_node_has_no_address_of_is_refused() {
    let v4_only = NetState::from_dump(&[
        M::NewLink(link(ETH0, "eth0", 1_500)),
        address(ETH0, "192.0.2.2", 24),
    ]);
    let gue = service("203.0.113.10", "443", GUE);
    assert_eq!(
        check_families(&config("", &gue, "192.0.2.11"), &v4_only),
        Ok(())
    );
    let refused = check_families(&config("", &gue, "2001:db8::11"), &v4_only);
    let refused = refused.expect_err("no IPv6 here");
    assert!(
        refused.contains("backend `one` has the IPv6 address 2001:db8::11"),
        "{refused}"
    );
}

#[test]
fn schedulers_become_indexes() {
    let of = |vip: &str, forward: &str, rest: &str| {
        let service = service(vip, "443", &format!("forward = \"{forward}\"\n{rest}"));
        let backend = match vip.contains(':') {
            true => "2001:db8::11",
            false => "192.0.2.11",
        };
        let config = config("", &service, backend);
        let (target, _) = aims(&config, |_: &TargetId| None, &net(), &ports());
        let service = target.services.into_values().next().expect("a service");
        (service.index, service.keeping, service.prefix)
    };
    let (v4, v6) = ("203.0.113.10", "2001:db8:9::1");
    let maglev = "scheduler = \"maglev\"";
    assert_eq!(of(v4, "dsr", ""), (Index::Counter, Keeping::Flows, 32));
    assert_eq!(of(v4, "dsr", maglev), (Index::Hash, Keeping::Changes, 32));
    assert_eq!(of(v4, "nat", maglev), (Index::Hash, Keeping::Flows, 32));
    let source = "scheduler = \"source\"";
    assert_eq!(
        of(v6, "dsr", source),
        (Index::Source, Keeping::Changes, 128)
    );
    let source = format!("{source}\nsource_prefix = 56");
    assert_eq!(
        of(v6, "dsr", &source),
        (Index::Source, Keeping::Changes, 56)
    );
}

#[test]
fn only_a_healthy_backend_is_up() {
    use AdminState::{Draining, Enabled};
    let rows = [
        (Enabled, None, BackendState::Active),
        (Enabled, Some(Health::Healthy), BackendState::Active),
        (Enabled, Some(Health::Checking), BackendState::Down),
        (Enabled, Some(Health::Failed), BackendState::Down),
        (Draining, Some(Health::Healthy), BackendState::Draining),
        (Draining, Some(Health::Failed), BackendState::Down),
        (Draining, None, BackendState::Draining),
    ];
    for (admin, health, want) in rows {
        assert_eq!(state(admin, health), want, "{admin:?} {health:?}");
    }
}
