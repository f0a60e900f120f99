//! What differs for IPv6, and what both families gain by it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::{
    RouteMessageBuilder, RouteNextHopBuilder,
    packet_route::{
        AddressFamily, RouteNetlinkMessage as M,
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
        link::{LinkAttribute, LinkFlags, LinkMessage, State},
        neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState},
        route::{
            RouteAttribute, RouteCacheInfo, RouteMessage, RouteMetric, RouteNextHopFlags,
            RoutePreference,
        },
    },
};

use super::{Family, NetState, resolve::Resolver, state::Applied};

const ETH1: u32 = 7;
const ETH2: u32 = 8;
const OURS: &str = "2001:db8::1";
const BACKEND: &str = "2001:db8::11";
const ROUTER: &str = "fe80::9";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn link(ifindex: u32, mtu: u32) -> M {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    message.attributes = vec![
        LinkAttribute::IfName(format!("eth{}", ifindex - 6)),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, ifindex as u8]),
        LinkAttribute::Mtu(mtu),
    ];
    M::NewLink(message)
}

fn address(ip: &str, scope: AddressScope, flags: AddressFlags) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.index = ETH1;
    message.header.prefix_len = 64;
    message.header.scope = scope;
    message.attributes = vec![
        AddressAttribute::Address(v6(ip).into()),
        AddressAttribute::Flags(flags),
    ];
    message
}

fn neighbour(ifindex: u32, ip: &str, last: u8) -> M {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.ifindex = ifindex;
    message.header.state = NeighbourState::Reachable;
    message.attributes = vec![
        NeighbourAttribute::Destination(v6(ip).into()),
        NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, last]),
    ];
    M::NewNeighbour(message)
}

fn route(prefix: &str, length: u8) -> RouteMessageBuilder<Ipv6Addr> {
    route_on(ETH1, prefix, length)
}

fn route_on(ifindex: u32, prefix: &str, length: u8) -> RouteMessageBuilder<Ipv6Addr> {
    RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(v6(prefix), length)
        .output_interface(ifindex)
}

fn with(mut message: RouteMessage, attribute: RouteAttribute) -> RouteMessage {
    message.attributes.push(attribute);
    message
}

fn state() -> NetState {
    NetState::from_dump(&[
        link(ETH1, 1500),
        link(ETH2, 1500),
        M::NewAddress(address(OURS, AddressScope::Universe, AddressFlags::empty())),
        M::NewRoute(route("2001:db8::", 64).build()),
        M::NewRoute(route_on(ETH2, "fe80::", 64).build()),
        M::NewRoute(route("fe80::", 64).build()),
        M::NewRoute(route("::", 0).gateway(v6(ROUTER)).build()),
        neighbour(ETH1, BACKEND, 0x11),
        neighbour(ETH1, ROUTER, 0x99),
        neighbour(ETH2, ROUTER, 0x55),
    ])
}

#[test]
fn hop_to_a_neighbour() {
    let hop = state().hop(ip(BACKEND)).expect("all is there");
    assert_eq!((hop.ifindex, hop.port, hop.onlink), (ETH1, ETH1, true));
    assert!(hop.vlans.is_empty());
    assert_eq!((hop.via, hop.mtu), (ip(BACKEND), 1500));
    assert_eq!(hop.source_mac, [2, 0, 0, 0, 0, 7]);
    assert_eq!(hop.destination_mac, [2, 0, 0, 0, 0, 0x11]);
}

#[test]
fn a_link_local_router_is_the_one_on_the_routes_link() {
    let mut state = state();
    let hop = state.hop(ip("2001:db8:9::1")).expect("all is there");
    assert_eq!((hop.via, hop.onlink), (ip(ROUTER), false));
    assert_eq!(hop.destination_mac, [2, 0, 0, 0, 0, 0x99]);

    let other = route_on(ETH2, "2001:db8:8::", 48).gateway(v6(ROUTER));
    state.apply(&M::NewRoute(other.build()));
    let hop = state.hop(ip("2001:db8:8::1")).expect("all is there");
    assert_eq!((hop.ifindex, hop.destination_mac[5]), (ETH2, 0x55));
}

#[test]
fn link_local_destinations_are_ambiguous() {
    let error = state().hop(ip(ROUTER)).expect_err("which link?");
    assert_eq!(
        error.to_string(),
        "fe80::9 is a link-local address, which doesn't say on which link: use a global or unique local one"
    );
}

#[test]
fn a_wanted_link_local_address_is_a_router_on_each_link() {
    let mut state = state();
    for ifindex in [ETH1, ETH2] {
        let gone = match neighbour(ifindex, ROUTER, 0) {
            M::NewNeighbour(message) => M::DelNeighbour(message),
            other => other,
        };
        state.apply(&gone);
    }
    let due =
        |state: &NetState| Resolver::default().due(state, &[ip(ROUTER)], std::time::Instant::now());
    assert_eq!(due(&state), [(ETH1, ip(ROUTER))]);
    let other = route_on(ETH2, "2001:db8:8::", 48).gateway(v6(ROUTER));
    state.apply(&M::NewRoute(other.build()));
    let mut both = due(&state);
    both.sort_unstable();
    assert_eq!(both, [(ETH1, ip(ROUTER)), (ETH2, ip(ROUTER))]);
}

#[test]
fn clients_are_neither_link_local_nor_multicast() {
    let mut state = state();
    state.apply(&neighbour(ETH1, "ff02::16", 0x16));
    let told: Vec<_> = state.neighbours(Family::V6, &[ETH1, ETH2]).collect();
    assert_eq!(told, [(ETH1, ip(BACKEND), [2, 0, 0, 0, 0, 0x11])]);
    assert_eq!(state.neighbours(Family::V4, &[ETH1, ETH2]).count(), 0);
}

#[test]
fn routes_are_told_by_family() {
    let state = state();
    let told: Vec<_> = state
        .routes(Family::V6, &[ETH1])
        .map(|(prefix, route)| (prefix.to_string(), route.gateway))
        .collect();
    // That fe80::/64 whose link is another comes first and counts.
    let expected = [
        ("2001:db8::/64".to_owned(), None),
        ("::/0".to_owned(), Some(ip(ROUTER))),
    ];
    assert_eq!(told, expected);
    assert_eq!(state.routes(Family::V4, &[ETH1]).count(), 0);
}

#[test]
fn routes_that_are_not_for_all_or_over_are_ignored() {
    let mut for_some = route("::", 0).build();
    for_some.header.source_prefix_length = 48;
    let expires = |left: i32| {
        let mut info = RouteCacheInfo::parse(&[0; 32]).expect("32 bytes");
        info.expires = left.cast_unsigned();
        RouteAttribute::CacheInfo(info)
    };
    let prefix = || route("2001:db8:5::", 48).build();
    for (message, applied) in [
        (for_some, Applied::Unchanged),
        (with(prefix(), expires(-1)), Applied::Unchanged),
        (with(prefix(), expires(100)), Applied::Changed),
        (with(prefix(), expires(0)), Applied::Changed),
    ] {
        assert_eq!(
            state().apply(&M::NewRoute(message.clone())),
            applied,
            "{message:?}"
        );
    }
    // It was valid when it came, and is removed after its time.
    let mut state = state();
    state.apply(&M::NewRoute(with(prefix(), expires(100))));
    let gone = M::DelRoute(with(prefix(), expires(-100)));
    assert_eq!(state.apply(&gone), Applied::Changed);
}

#[test]
fn of_equal_default_routers_the_preferred_counts() {
    let by = |last: u16, preference| {
        let gateway = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
        let message = route("::", 0).gateway(gateway).build();
        M::NewRoute(with(message, RouteAttribute::Preference(preference)))
    };
    let state = NetState::from_dump(&[
        link(ETH1, 1500),
        by(1, RoutePreference::Low),
        by(2, RoutePreference::Medium),
        by(3, RoutePreference::High),
        by(4, RoutePreference::High),
    ]);
    let gateway = state.route(ip("2001:db8::9")).and_then(|r| r.gateway);
    assert_eq!(gateway, Some(ip("fe80::3")));
}

#[test]
fn of_several_next_hops_the_first_usable_counts() {
    let hop = |last: u16, dead: bool| {
        let via = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
        let mut hop = RouteNextHopBuilder::new_ipv6()
            .interface(ETH2)
            .via(via.into())
            .expect("IPv6")
            .build();
        if dead {
            hop.flags = RouteNextHopFlags::Linkdown;
        }
        hop
    };
    let mut encapsulates = hop(1, false);
    encapsulates.attributes.push(RouteAttribute::EncapType(
        rtnetlink::packet_route::route::RouteLwEnCapType::Ip6,
    ));
    let far = ip("2001:db8:5::1");
    for (hops, expected) in [
        (vec![hop(2, false), hop(3, false)], Some(ip("fe80::2"))),
        (vec![hop(2, true), hop(3, false)], Some(ip("fe80::3"))),
        (vec![encapsulates, hop(3, false)], Some(ip("fe80::3"))),
        (vec![hop(2, true)], None),
    ] {
        let message = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(v6("2001:db8:5::"), 48)
            .multipath(hops)
            .build();
        let mut state = state();
        state.apply(&M::NewRoute(message));
        let route = state.route(far);
        assert_eq!(route.and_then(|r| r.gateway), expected);
        assert_eq!(route.is_some_and(|r| r.ifindex == ETH2), expected.is_some());
    }
}

#[test]
fn routes_follow_a_link_once_it_has_settled() {
    let M::NewLink(mut message) = link(ETH1, 1500) else {
        panic!("a link")
    };
    let mut state = state();
    message.header.flags = LinkFlags::Up;
    assert_eq!(state.apply(&M::NewLink(message.clone())), Applied::Resync);
    assert_eq!(
        state.apply(&M::NewLink(message.clone())),
        Applied::Unchanged
    );
    let settled = LinkAttribute::OperState(State::LowerLayerDown);
    message.attributes.push(settled);
    assert_eq!(state.apply(&M::NewLink(message)), Applied::Resync);
}

#[test]
fn one_next_hop_that_goes_asks_for_a_new_picture() {
    let hop = |last: u16| {
        let via = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
        let builder = RouteNextHopBuilder::new_ipv6().interface(ETH1);
        builder.via(via.into()).expect("IPv6").build()
    };
    let mut state = state();
    let both = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(v6("2001:db8:5::"), 48)
        .multipath(vec![hop(2), hop(3)])
        .build();
    assert_eq!(state.apply(&M::NewRoute(both)), Applied::Changed);
    let second = route("2001:db8:5::", 48).gateway(v6("fe80::3")).build();
    assert_eq!(state.apply(&M::DelRoute(second)), Applied::Resync);
}

#[test]
fn the_narrowest_of_link_and_route_counts() {
    for (link_mtu, metric, expected) in [
        (1500, None, 1500),
        (1400, None, 1400),
        (1500, Some(1300), 1300),
        (1500, Some(9000), 1500),
        (1500, Some(0), 1500),
    ] {
        let mut message = route("2001:db8:5::", 48).gateway(v6(ROUTER)).build();
        if let Some(metric) = metric {
            let metrics = vec![RouteMetric::Hoplimit(64), RouteMetric::Mtu(metric)];
            message = with(message, RouteAttribute::Metrics(metrics));
        }
        let mut state = state();
        state.apply(&link(ETH1, link_mtu));
        state.apply(&M::NewRoute(message));
        let hop = state.hop(ip("2001:db8:5::1")).expect("all is there");
        assert_eq!(hop.mtu, expected, "{link_mtu} {metric:?}");
    }
    assert_eq!(state().apply(&link(ETH1, 1400)), Applied::Resync);
}

#[test]
fn ipv4_goes_by_an_ipv6_router() {
    let mut state = state();
    let message = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::new(198, 51, 100, 0), 24)
        .output_interface(ETH1)
        .via(v6(ROUTER))
        .build();
    state.apply(&M::NewRoute(message));
    let hop = state.hop(ip("198.51.100.7")).expect("all is there");
    assert_eq!((hop.via, hop.onlink), (ip(ROUTER), false));
    assert_eq!(hop.destination_mac[5], 0x99);
}

#[test]
fn an_address_is_global_or_not() {
    use AddressScope::{Link, Universe};
    let empty = AddressFlags::empty();
    let failed = AddressFlags::Dadfailed | AddressFlags::Tentative;
    for (ip, scope, flags, reachable, local) in [
        ("2001:db8::5", Universe, empty, true, true),
        ("fd00::5", Universe, empty, true, true),
        ("fe80::5", Link, empty, false, true),
        (
            "2001:db8::5",
            Universe,
            AddressFlags::Tentative,
            false,
            true,
        ),
        ("2001:db8::5", Universe, failed, false, false),
    ] {
        let message = M::NewAddress(address(ip, scope, flags));
        let state = NetState::from_dump(&[link(ETH1, 1500), message]);
        assert_eq!(state.has_address(Family::V6), reachable, "{ip} {flags:?}");
        assert_eq!(state.is_local(v6(ip).into()), local, "{ip} {flags:?}");
        assert!(!state.has_address(Family::V4));
    }
    let mut lo = LinkMessage::default();
    lo.header.index = ETH1;
    lo.header.flags = LinkFlags::Loopback | LinkFlags::Up;
    let on_lo = M::NewAddress(address("2001:db8::5", Universe, empty));
    assert!(!NetState::from_dump(&[M::NewLink(lo), on_lo]).has_address(Family::V6));
}

#[test]
fn an_address_that_is_ready_is_a_change() {
    let mut state = state();
    let ready = |flags| M::NewAddress(address("2001:db8::5", AddressScope::Universe, flags));
    assert_eq!(
        state.apply(&ready(AddressFlags::Tentative)),
        Applied::Changed
    );
    assert_eq!(state.apply(&ready(AddressFlags::empty())), Applied::Changed);
    assert_eq!(
        state.apply(&ready(AddressFlags::empty())),
        Applied::Unchanged
    );
}

#[test]
fn speaks_from_what_the_route_prefers() {
    let mut state = state();
    let preferred = route("2001:db8:5::", 48)
        .gateway(v6(ROUTER))
        .pref_source(v6("2001:db8:ffff::1"));
    state.apply(&M::NewRoute(preferred.build()));
    for (destination, source) in [
        ("2001:db8:5::1", Some("2001:db8:ffff::1")),
        ("2001:db8:6::1", Some(OURS)),
        (OURS, Some(OURS)),
        ("192.0.2.1", None),
    ] {
        assert_eq!(state.source_for(ip(destination)), source.map(ip));
    }
}
