use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::{
    RouteMessageBuilder,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage as M,
};

use super::{
    NetState, NoHop, Vlan, VlanProtocol, VlanTag, Watcher,
    testbed::{Namespace, until},
};

const ETH0: u32 = 2;
const UP: u32 = 0x1_0043;
const NO_CARRIER: u32 = 0x43;
const DOWN: u32 = 0x42;
const BACKEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));

/// An attribute as it lies in a message.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).expect("short");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// RTM_NEWLINK, byte by byte (linux/rtnetlink.h, linux/if_link.h).
fn link(ifindex: u32, name: &str, flags: u32, mtu: u32, more: &[u8]) -> M {
    let mut body = vec![0, 0];
    body.extend(1u16.to_ne_bytes()); // ARPHRD_ETHER
    body.extend(ifindex.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend([0; 4]);
    body.extend(attribute(3, format!("{name}\0").as_bytes())); // IFLA_IFNAME
    body.extend(attribute(1, &[2, 0, 0, 0, 0, ifindex as u8])); // IFLA_ADDRESS
    body.extend(attribute(4, &mtu.to_ne_bytes())); // IFLA_MTU
    body.extend(more);
    let length = u32::try_from(body.len() + 16).expect("short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(16u16.to_ne_bytes()); // RTM_NEWLINK
    bytes.extend([0; 10]);
    bytes.extend(body);
    match NetlinkMessage::deserialize(&bytes).expect("valid").payload {
        NetlinkPayload::InnerMessage(message) => message,
        other => panic!("{other:?}"),
    }
}

/// The attributes of a VLAN device.
fn vlan(parent: u32, id: u16, ethertype: u16) -> Vec<u8> {
    let data = [
        attribute(5, &ethertype.to_be_bytes()), // IFLA_VLAN_PROTOCOL
        attribute(1, &id.to_ne_bytes()),        // IFLA_VLAN_ID
        attribute(2, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), // IFLA_VLAN_FLAGS
    ]
    .concat();
    let info = [attribute(1, b"vlan\0"), attribute(2, &data)].concat(); // IFLA_INFO_*
    [
        attribute(5, &parent.to_ne_bytes()), // IFLA_LINK
        attribute(18, &info),                // IFLA_LINKINFO
    ]
    .concat()
}

/// A route and a neighbour on that link.
fn on(ifindex: u32) -> [M; 2] {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::new(10, 0, 0, 0), 24)
        .output_interface(ifindex)
        .build();
    let mut neighbour = rtnetlink::packet_route::neighbour::NeighbourMessage::default();
    neighbour.header.family = rtnetlink::packet_route::AddressFamily::Inet;
    neighbour.header.ifindex = ifindex;
    neighbour.header.state = rtnetlink::packet_route::neighbour::NeighbourState::Reachable;
    use rtnetlink::packet_route::neighbour::NeighbourAttribute as A;
    neighbour.attributes = vec![
        A::Destination(BACKEND.into()),
        A::LinkLayerAddress(vec![2, 0, 0, 0, 0, 0x11]),
    ];
    [M::NewRoute(route), M::NewNeighbour(neighbour)]
}

fn state(links: &[M], ifindex: u32) -> NetState {
    NetState::from_dump(links.iter().chain(&on(ifindex)))
}

fn tag(id: u16, protocol: VlanProtocol) -> VlanTag {
    VlanTag { id, protocol }
}

#[test]
fn a_vlan_tells_its_parent() {
    use VlanProtocol::{Dot1ad, Dot1q};
    for (ethertype, protocol) in [(0x8100, Dot1q), (0x88a8, Dot1ad)] {
        let message = link(5, "eth0.100", UP, 1500, &vlan(ETH0, 100, ethertype));
        let state = NetState::from_dump(&[message]);
        let known = state.link(5).expect("a link");
        let expected = Vlan {
            parent: ETH0,
            id: 100,
            protocol,
        };
        assert_eq!(known.vlan, Some(expected));
        assert_eq!(protocol.ethertype(), ethertype);
    }
    // A veth names its peer in the same place, and is no VLAN.
    let info = attribute(18, &attribute(1, b"veth\0"));
    let veth = [attribute(5, &9u32.to_ne_bytes()), info].concat();
    let state = NetState::from_dump(&[link(5, "eth0", UP, 1500, &veth)]);
    assert_eq!(state.link(5).expect("a link").vlan, None);
}

#[test]
fn frames_leave_by_the_lowest_link_with_its_tags() {
    use VlanProtocol::{Dot1ad, Dot1q};
    let links = [
        link(5, "eth0.200", UP, 1500, &vlan(ETH0, 200, 0x88a8)),
        link(6, "eth0.200.7", UP, 1496, &vlan(5, 7, 0x8100)),
        link(ETH0, "eth0", UP, 1498, &[]),
    ];
    for (ifindex, tags, mtu) in [
        (ETH0, vec![], 1498),
        (5, vec![tag(200, Dot1ad)], 1498),
        (6, vec![tag(200, Dot1ad), tag(7, Dot1q)], 1496),
    ] {
        let hop = state(&links, ifindex).hop(BACKEND).expect("all is there");
        assert_eq!((hop.ifindex, hop.port), (ifindex, ETH0));
        assert_eq!(hop.vlans.iter().collect::<Vec<_>>(), tags);
        assert_eq!(hop.vlans.len(), tags.len());
        assert_eq!(hop.mtu, mtu);
        assert_eq!(hop.source_mac[5], ifindex as u8);
    }
}

#[test]
fn what_is_wrong_below_is_named() {
    let top = link(6, "vlan7", UP, 1500, &vlan(5, 7, 0x8100));
    let middle = link(5, "vlan5", UP, 1500, &vlan(ETH0, 5, 0x8100));
    let elsewhere = [vlan(5, 7, 0x8100), attribute(37, &0u32.to_ne_bytes())].concat();
    let eth0 = |flags| link(ETH0, "eth0", flags, 1500, &[]);
    for (links, expected) in [
        (
            vec![top.clone(), middle.clone(), eth0(DOWN)],
            "link eth0 is down: `ip link set eth0 up` switches it on",
        ),
        (
            vec![top.clone(), middle.clone(), eth0(NO_CARRIER)],
            "link eth0 has no carrier: check its cable or its other end",
        ),
        (
            vec![top.clone(), middle],
            "the link under VLAN device vlan5 is not in this network namespace",
        ),
        (
            vec![
                link(6, "vlan7", UP, 1500, &elsewhere),
                link(5, "eth5", UP, 1500, &[]),
            ],
            "the link under VLAN device vlan7 is not in this network namespace",
        ),
        (
            vec![
                top,
                link(5, "vlan5", UP, 1500, &vlan(4, 5, 0x8100)),
                link(4, "vlan4", UP, 1500, &vlan(ETH0, 4, 0x88a8)),
                eth0(UP),
            ],
            "link vlan7 stacks more than two VLANs: two tags are the most that can be sent",
        ),
        // No kernel makes such a ring; it must not hang us.
        (
            vec![
                link(6, "vlan7", UP, 1500, &vlan(5, 7, 0x8100)),
                link(5, "vlan5", UP, 1500, &vlan(6, 5, 0x8100)),
            ],
            "link vlan7 stacks more than two VLANs: two tags are the most that can be sent",
        ),
    ] {
        let error = state(&links, 6).hop(BACKEND).expect_err("broken below");
        assert_eq!(error.to_string(), expected);
    }
}

/// Two hosts on a trunk; false if this kernel has no VLAN devices.
fn trunk(here: &Namespace, there: &Namespace) -> bool {
    here.wire(there);
    here.ip("link set eth0 up");
    let tried = here.ip_try("link add link eth0 name outer type vlan proto 802.1ad id 100");
    if let Err(why) = tried {
        eprintln!("skipped: no VLAN devices on this kernel: {}", why.trim());
        return false;
    }
    there.ip("link add link eth0 name outer type vlan proto 802.1ad id 100");
    for (end, address) in [(here, "1"), (there, "11")] {
        end.ip("link add link outer name inner type vlan id 200");
        end.ip("link set outer up");
        end.ip("link set inner mtu 1300 up");
        end.ip(&format!("address add 10.0.0.{address}/24 dev inner"));
        end.ip(&format!(
            "address add 2001:db8::{address}/64 dev inner nodad"
        ));
    }
    true
}

#[test]
fn real_vlan_devices() {
    use VlanProtocol::{Dot1ad, Dot1q};
    let (here, there) = (Namespace::new(), Namespace::new());
    if !trunk(&here, &there) {
        return;
    }
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        let six: IpAddr = "2001:db8::11".parse().expect("an address");
        watcher.want(vec![BACKEND, six]);
        for destination in [BACKEND, six] {
            let hop = until(&mut states, |s| s.hop(destination).ok()).await;
            let state = states.borrow();
            let name = |ifindex| state.link(ifindex).map(|link| link.name.as_str());
            assert_eq!(
                (name(hop.ifindex), name(hop.port)),
                (Some("inner"), Some("eth0"))
            );
            let tags: Vec<_> = hop.vlans.iter().collect();
            assert_eq!(tags, [tag(100, Dot1ad), tag(200, Dot1q)]);
            assert_eq!(hop.mtu, 1300);
        }
        here.ip("link set eth0 down");
        until(&mut states, |s| {
            matches!(s.hop(BACKEND), Err(NoHop::LinkDown { .. })).then_some(())
        })
        .await;
    });
}
