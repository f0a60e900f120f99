use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily, RouteNetlinkMessage as M,
        link::{LinkAttribute, LinkFlags, LinkMessage},
        neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState},
    },
};

use super::{
    NetState,
    resolve::{RETRY, Resolver},
};

const ETH1: u32 = 7;
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
const BACKEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
];

fn state(flags: LinkFlags) -> NetState {
    let mut link = LinkMessage::default();
    link.header.index = ETH1;
    link.header.flags = flags;
    link.attributes
        .push(LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]));
    let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(ETH1);
    let near = route.clone().destination_prefix(ROUTER, 24).build();
    let default = route.gateway(ROUTER).build();
    NetState::from_dump(&[M::NewLink(link), M::NewRoute(near), M::NewRoute(default)])
}

fn up() -> LinkFlags {
    LinkFlags::Up | LinkFlags::LowerUp
}

fn with(mut state: NetState, ip: IpAddr, nud: NeighbourState) -> NetState {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = ETH1;
    message.header.state = nud;
    let destination = NeighbourAttribute::Destination(ip.into());
    message.attributes.push(destination);
    state.apply(&M::NewNeighbour(message));
    state
}

#[test]
fn asks_for_each_next_hop_once_a_second() {
    let state = state(up());
    let mut resolver = Resolver::default();
    let start = Instant::now();
    let mut due = |wanted: &[IpAddr], after: Duration| resolver.due(&state, wanted, start + after);
    assert_eq!(
        due(&FAR, Duration::ZERO),
        [(ETH1, ROUTER.into())],
        "one router for both"
    );
    assert_eq!(due(&FAR, RETRY / 2), []);
    let both = [FAR[0], BACKEND];
    assert_eq!(
        due(&both, RETRY / 2),
        [(ETH1, BACKEND)],
        "a new one at once"
    );
    assert_eq!(due(&both, RETRY), [(ETH1, ROUTER.into())]);
    assert_eq!(due(&[], 3 * RETRY), []);
}

#[test]
fn asks_only_where_the_kernel_would_not() {
    use NeighbourState as S;
    for (nud, asks) in [
        (S::None, true),
        (S::Stale, true),
        (S::Failed, true),
        (S::Incomplete, false),
        (S::Reachable, false),
        (S::Delay, false),
        (S::Probe, false),
        // Using a permanent entry would make the kernel forget that it is one.
        (S::Permanent, false),
        (S::Noarp, false),
    ] {
        let state = with(state(up()), BACKEND, nud);
        let due = Resolver::default().due(&state, &[BACKEND], Instant::now());
        assert_eq!(!due.is_empty(), asks, "{nud}");
    }
}

#[test]
fn asks_nobody_on_a_dead_link_or_without_a_route() {
    for state in [
        state(LinkFlags::empty()),
        state(LinkFlags::Up),
        NetState::default(),
    ] {
        let due = Resolver::default().due(&state, &[BACKEND], Instant::now());
        assert_eq!(due, []);
    }
}
