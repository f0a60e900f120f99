use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::{
    RouteMessageBuilder, RouteNextHopBuilder,
    packet_route::{
        AddressFamily, RouteNetlinkMessage as M,
        address::{AddressAttribute, AddressMessage},
        link::{LinkAttribute, LinkFlags, LinkMessage},
        neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::{RouteFlags, RouteMessage, RouteNextHopFlags, RouteType},
    },
};

use super::{Family, NetState, NoHop, state::Applied};

const BACKEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const ETH1: u32 = 7;

fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(_) => panic!("an IPv4 address"),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn link(flags: LinkFlags) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ETH1;
    message.header.flags = flags;
    message.attributes = vec![
        LinkAttribute::IfName("eth1".to_owned()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        LinkAttribute::Mtu(1500),
    ];
    message
}

fn up() -> LinkFlags {
    LinkFlags::Up | LinkFlags::LowerUp
}

fn address() -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = ETH1;
    message.header.prefix_len = 24;
    message.attributes = vec![
        AddressAttribute::Address(OURS),
        AddressAttribute::Local(OURS),
    ];
    message
}

fn neighbour(ip: IpAddr, state: NeighbourState, mac: Option<u8>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = ETH1;
    message.header.state = state;
    let destination = NeighbourAttribute::Destination(ip.into());
    message.attributes.push(destination);
    if let Some(last) = mac {
        let bytes = vec![2, 0, 0, 0, 0, last];
        let link_layer = NeighbourAttribute::LinkLayerAddress(bytes);
        message.attributes.push(link_layer);
    }
    message
}

fn route(network: &str, length: u8) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(v4(ip(network)), length)
        .output_interface(ETH1)
}

fn connected() -> RouteMessage {
    route("10.0.0.0", 24).build()
}

/// A link that is up, with an address, its subnet's route and one neighbour.
fn state() -> NetState {
    NetState::from_dump(&[
        M::NewLink(link(up())),
        M::NewAddress(address()),
        M::NewRoute(connected()),
        M::NewNeighbour(neighbour(BACKEND, NeighbourState::Reachable, Some(0x11))),
    ])
}

#[test]
fn hop_to_a_neighbour() {
    let hop = state().hop(BACKEND).expect("all is there");
    assert_eq!((hop.ifindex, hop.via, hop.onlink), (ETH1, BACKEND, true));
    assert_eq!(hop.source_mac, [2, 0, 0, 0, 0, 1]);
    assert_eq!(hop.destination_mac, [2, 0, 0, 0, 0, 0x11]);
}

#[test]
fn hop_through_a_router() {
    let mut state = state();
    let default = RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(v4(ROUTER))
        .output_interface(ETH1)
        .build();
    assert_eq!(state.apply(&M::NewRoute(default)), Applied::Changed);
    let error = state.hop(FAR).expect_err("the router is unknown");
    assert_eq!(
        error.to_string(),
        "neighbour 10.0.0.254 on eth1 not resolved (not asked yet): it must answer ARP there"
    );
    state.apply(&M::NewNeighbour(neighbour(
        ROUTER,
        NeighbourState::Stale,
        Some(9),
    )));
    let hop = state.hop(FAR).expect("all is there");
    assert_eq!((hop.via, hop.onlink), (ROUTER, false));
    assert_eq!(hop.destination_mac, [2, 0, 0, 0, 0, 9]);
    assert_eq!(state.route(FAR).and_then(|route| route.source), Some(OURS));
}

#[test]
fn neighbour_states_decide_who_is_usable() {
    use NeighbourState as S;
    for (nud, usable) in [
        (S::Reachable, true),
        (S::Stale, true),
        (S::Delay, true),
        (S::Probe, true),
        (S::Permanent, true),
        (S::Noarp, true),
        (S::None, false),
        (S::Incomplete, false),
        (S::Failed, false),
    ] {
        let mut state = state();
        state.apply(&M::NewNeighbour(neighbour(BACKEND, nud, Some(1))));
        assert_eq!(state.hop(BACKEND).is_ok(), usable, "{nud}");
        assert_eq!(
            state.neighbours(Family::V4, &[ETH1]).count(),
            usize::from(usable),
            "{nud}"
        );
        state.apply(&M::NewNeighbour(neighbour(BACKEND, nud, None)));
        assert!(state.hop(BACKEND).is_err(), "{nud} without a MAC");
    }
}

#[test]
fn what_is_missing_is_named() {
    let words = |changes: &[M], destination: &str| {
        let mut state = state();
        for change in changes {
            state.apply(change);
        }
        state
            .hop(ip(destination))
            .expect_err("something is missing")
            .to_string()
    };
    let mut no_mac = link(up());
    no_mac.attributes[1] = LinkAttribute::Address(vec![1, 2, 3, 4]);
    let blackhole = route("198.51.100.0", 24).kind(RouteType::BlackHole).build();
    let failed = neighbour(BACKEND, NeighbourState::Failed, None);
    for (changes, destination, expected) in [
        (vec![], "192.0.2.1", "no route to 192.0.2.1"),
        (
            vec![],
            "10.0.0.1",
            "10.0.0.1 is an address of this machine itself",
        ),
        (
            vec![],
            "127.0.0.1",
            "127.0.0.1 is an address of this machine itself",
        ),
        (
            vec![M::NewRoute(blackhole)],
            "198.51.100.7",
            "the route to 198.51.100.7 is a blackhole",
        ),
        (
            vec![M::NewLink(link(LinkFlags::empty()))],
            "10.0.0.11",
            "link eth1 is down: `ip link set eth1 up` switches it on",
        ),
        // Switching the link off has taken the route along.
        (
            vec![
                M::NewLink(link(LinkFlags::empty())),
                M::DelRoute(connected()),
            ],
            "10.0.0.11",
            "link eth1 is down: `ip link set eth1 up` switches it on",
        ),
        (
            vec![M::NewLink(link(LinkFlags::Up))],
            "10.0.0.11",
            "link eth1 has no carrier: check its cable or its other end",
        ),
        (
            vec![M::NewLink(no_mac)],
            "10.0.0.11",
            "link eth1 has no MAC address: only Ethernet links can be used",
        ),
        (
            vec![M::NewNeighbour(failed)],
            "10.0.0.11",
            "neighbour 10.0.0.11 on eth1 not resolved (FAILED): it must answer ARP there",
        ),
        (
            vec![M::DelLink(link(up()))],
            "10.0.0.11",
            "the link of the route, number 7, is gone",
        ),
    ] {
        assert_eq!(words(&changes, destination), expected);
    }
}

#[test]
fn only_news_is_a_change() {
    let reachable = neighbour(BACKEND, NeighbourState::Reachable, Some(0x11));
    let known = [
        M::NewLink(link(up())),
        M::NewAddress(address()),
        M::NewRoute(connected()),
        M::NewNeighbour(reachable),
    ];
    let mut state = state();
    for message in &known {
        assert_eq!(state.apply(message), Applied::Unchanged, "{message:?}");
    }
    let moved = neighbour(BACKEND, NeighbourState::Reachable, Some(0x22));
    assert_eq!(
        state.apply(&M::NewNeighbour(moved.clone())),
        Applied::Changed
    );
    assert_eq!(
        state.apply(&M::DelNeighbour(moved.clone())),
        Applied::Changed
    );
    assert_eq!(state.apply(&M::DelNeighbour(moved)), Applied::Unchanged);
    assert_eq!(state.apply(&M::DelRoute(connected())), Applied::Changed);
    assert_eq!(state.apply(&M::DelRoute(connected())), Applied::Unchanged);
    assert_eq!(
        state.hop(BACKEND),
        Err(NoHop::NoRoute {
            destination: BACKEND
        })
    );
}

#[test]
fn silent_consequences_ask_for_a_new_picture() {
    let other = route("10.0.0.0", 24).gateway(v4(ROUTER)).build();
    for message in [
        M::NewLink(link(LinkFlags::empty())),
        M::NewLink(link(LinkFlags::Up)),
        M::DelLink(link(up())),
        M::DelAddress(address()),
        // A second route with the same prefix and metric: which one counts?
        M::NewRoute(other),
    ] {
        assert_eq!(state().apply(&message), Applied::Resync, "{message:?}");
    }
}

#[test]
fn what_only_looks_like_news_is_ignored() {
    // A port that leaves its bridge, and what a bridge has learned.
    let mut port = link(LinkFlags::empty());
    port.header.interface_family = AddressFamily::Bridge;
    let mut learned = neighbour(BACKEND, NeighbourState::Permanent, Some(9));
    learned.header.family = AddressFamily::Bridge;
    let mut proxy = neighbour(BACKEND, NeighbourState::None, None);
    proxy.header.flags = NeighbourFlags::Proxy;
    let mut labelled = route("0.0.0.0", 0).build();
    labelled.header.address_family = AddressFamily::Mpls;
    let mut cached = route("192.0.2.0", 24).build();
    cached.header.flags = RouteFlags::Cloned;
    let mut for_one_service = route("192.0.2.0", 24).build();
    for_one_service.header.tos = 0x10;
    for message in [
        M::NewLink(port.clone()),
        M::DelLink(port),
        M::NewNeighbour(learned),
        M::NewNeighbour(proxy),
        M::NewRoute(labelled),
        M::NewRoute(cached),
        M::NewRoute(for_one_service),
        M::NewRoute(route("192.0.2.0", 24).table_id(100).build()),
        M::NewRoute(route("192.0.2.0", 24).table_id(1000).build()),
        M::NewRoute(route("192.0.2.0", 24).kind(RouteType::Local).build()),
    ] {
        assert_eq!(state().apply(&message), Applied::Unchanged, "{message:?}");
    }
}

#[test]
fn a_partial_link_message_keeps_the_rest() {
    let mut state = state();
    let mut partial = link(up());
    partial.attributes = vec![LinkAttribute::Mtu(9000)];
    // Routes have followed its MTU, perhaps.
    assert_eq!(state.apply(&M::NewLink(partial)), Applied::Resync);
    let eth1 = state.link_by_name("eth1").expect("it kept its name");
    assert_eq!((eth1.mtu, eth1.mac), (9000, Some([2, 0, 0, 0, 0, 1])));
}

#[test]
fn of_several_next_hops_the_first_alive_counts() {
    let hop = |last, flags| {
        let mut hop = RouteNextHopBuilder::new_ipv4()
            .interface(ETH1)
            .via(Ipv4Addr::new(10, 0, 0, last).into())
            .expect("IPv4")
            .build();
        hop.flags = flags;
        hop
    };
    let dead = RouteNextHopFlags::Dead;
    let alive = RouteNextHopFlags::empty();
    for (hops, expected) in [
        (vec![hop(2, alive), hop(3, alive)], Some(2)),
        (vec![hop(2, dead), hop(3, alive)], Some(3)),
        (vec![hop(2, dead), hop(3, dead)], None),
    ] {
        let mut state = state();
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(v4(ip("198.51.100.0")), 24)
            .multipath(hops)
            .build();
        state.apply(&M::NewRoute(message));
        let gateway = state.route(FAR).and_then(|route| route.gateway);
        assert_eq!(gateway, expected.map(|last| IpAddr::from([10, 0, 0, last])));
    }
}

#[test]
fn return_paths_are_the_best_routes_on_the_given_links() {
    let mut state = state();
    let elsewhere = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(v4(ip("10.9.0.0")), 16)
        .output_interface(8);
    for message in [
        route("0.0.0.0", 0).gateway(v4(ROUTER)).build(),
        // Elsewhere, and better than one of ours.
        elsewhere.priority(10).build(),
        route("10.9.0.0", 16).priority(20).build(),
        route("10.8.0.0", 16).priority(20).build(),
        route("10.8.0.0", 16)
            .priority(30)
            .gateway(v4(ROUTER))
            .build(),
        route("10.7.0.0", 16).kind(RouteType::Unreachable).build(),
    ] {
        state.apply(&M::NewRoute(message));
    }
    let told: Vec<_> = state
        .routes(Family::V4, &[ETH1])
        .map(|(prefix, route)| (prefix.to_string(), route.gateway))
        .collect();
    let expected = [
        ("10.0.0.0/24".to_owned(), None),
        ("10.8.0.0/16".to_owned(), None),
        ("0.0.0.0/0".to_owned(), Some(ROUTER)),
    ];
    assert_eq!(told, expected);
}
