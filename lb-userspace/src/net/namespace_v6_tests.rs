//! The watcher against real kernels' announcements of IPv6.

use std::net::IpAddr;

use super::{
    Family, NetState, NoHop, Watcher,
    testbed::{Namespace, two_hosts, until},
};

const PEER: &str = "2001:db8::11";
const FAR: &str = "2001:db8:ffff::7";
/// What the kernel makes of 02:00:00:00:00:11.
const PEER_LINK_LOCAL: &str = "fe80::ff:fe00:11";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn sees_what_comes_and_goes() {
    let (here, there) = (Namespace::new(), Namespace::new());
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        watcher.want(vec![ip(PEER)]);
        here.wire(&there);
        let eth0 = until(&mut states, |s| Some(s.link_by_name("eth0")?.ifindex)).await;
        here.ip("link set eth0 up");
        assert!(!states.borrow().has_address(Family::V6));

        // This one has to wait for its duplicate address detection.
        here.ip("address add 2001:db8::1/64 dev eth0");
        until(&mut states, |s| s.is_local(ip("2001:db8::1")).then_some(())).await;
        until(&mut states, |s| s.has_address(Family::V6).then_some(())).await;
        assert!(!states.borrow().has_address(Family::V4));
        let source = until(&mut states, |s| s.source_for(ip(PEER))).await;
        assert_eq!(source, ip("2001:db8::1"));

        // Nobody has the address yet; when somebody does, no more is needed.
        let failed = |s: &NetState| {
            let error = s.hop(ip(PEER)).err()?.to_string();
            let expected = "neighbour 2001:db8::11 on eth0 not resolved (FAILED): it must answer neighbour solicitations there";
            (error == expected).then_some(())
        };
        until(&mut states, failed).await;
        there.ip("address add 2001:db8::11/64 dev eth0 nodad");
        let hop = until(&mut states, |s| s.hop(ip(PEER)).ok()).await;
        assert_eq!((hop.ifindex, hop.port, hop.mtu), (eth0, eth0, 1400));
        assert_eq!(hop.source_mac, [2, 0, 0, 0, 0, 1]);
        assert_eq!(hop.destination_mac, [2, 0, 0, 0, 0, 0x11]);
        assert_eq!((hop.via, hop.onlink), (ip(PEER), true));

        here.ip("link set eth0 down");
        let gone = NoHop::NoRoute {
            destination: ip(PEER),
        };
        until(&mut states, |s| (s.hop(ip(PEER)) == Err(gone.clone())).then_some(())).await;
        until(&mut states, |s| (!s.is_local(ip("2001:db8::1"))).then_some(())).await;
        here.ip("link del eth0");
        until(&mut states, |s| s.link(eth0).is_none().then_some(())).await;
        assert_eq!(states.borrow().neighbours(Family::V6, &[eth0]).count(), 0);
    });
}

#[test]
fn a_link_local_router_is_found() {
    let (here, _there) = two_hosts();
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        let eth0 = states.borrow().link_by_name("eth0").expect("eth0").ifindex;
        here.ip(&format!("route add default via {PEER_LINK_LOCAL} dev eth0"));
        for wanted in [FAR, PEER_LINK_LOCAL] {
            watcher.want(vec![ip(wanted)]);
            let hop = until(&mut states, |s| s.hop(ip(FAR)).ok()).await;
            assert_eq!((hop.via, hop.onlink), (ip(PEER_LINK_LOCAL), false));
            assert_eq!(hop.destination_mac, [2, 0, 0, 0, 0, 0x11]);
            assert_eq!(states.borrow().neighbours(Family::V6, &[eth0]).count(), 0);
            watcher.want(vec![]);
            here.ip("neigh flush dev eth0");
            until(&mut states, |s| s.hop(ip(FAR)).is_err().then_some(())).await;
        }
        // For IPv4 too.
        here.ip(&format!(
            "-4 route add 198.51.100.0/24 via inet6 {PEER_LINK_LOCAL} dev eth0"
        ));
        watcher.want(vec![ip("198.51.100.7")]);
        let hop = until(&mut states, |s| s.hop(ip("198.51.100.7")).ok()).await;
        assert_eq!(hop.via, ip(PEER_LINK_LOCAL));
    });
}

#[test]
fn the_narrowest_mtu_counts_and_its_change_is_seen() {
    let (here, _there) = two_hosts();
    let (wide, narrow) = ("2001:db8:aaaa::1", "2001:db8:bbbb::1");
    here.ip("route add 2001:db8:aaaa::/48 via 2001:db8::11");
    here.ip("route add 2001:db8:bbbb::/48 via 2001:db8::11 mtu 1280");
    here.ip("neigh add 10.0.0.11 lladdr 02:00:00:00:00:11 dev eth0");
    here.ip("route add 192.0.2.0/24 via 10.0.0.11 mtu 1000");
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        watcher.want(vec![ip(wide)]);
        let mtu = |s: &NetState, to: &str| Some(s.hop(ip(to)).ok()?.mtu);
        until(&mut states, |s| (mtu(s, wide)? == 1400).then_some(())).await;
        let now = states.borrow().clone();
        assert_eq!(mtu(&now, narrow), Some(1280));
        assert_eq!(mtu(&now, "10.0.0.11"), Some(1400));
        assert_eq!(mtu(&now, "192.0.2.1"), Some(1000));
        here.ip("link set eth0 mtu 1350");
        until(&mut states, |s| (mtu(s, wide)? == 1350).then_some(())).await;
        assert_eq!(mtu(&states.borrow(), narrow), Some(1280));
        here.ip("route replace 2001:db8:bbbb::/48 via 2001:db8::11 mtu 1300");
        until(&mut states, |s| (mtu(s, narrow)? == 1300).then_some(())).await;
    });
}

#[test]
fn the_next_hop_that_is_alive_is_taken() {
    let (here, there) = two_hosts();
    here.ip("link add eth1 type veth peer name peer1");
    for link in ["peer1", "eth1"] {
        here.ip(&format!("link set {link} up"));
    }
    here.ip(
        "route add 2001:db8:ffff::/48 nexthop via fe80::1 dev eth1 nexthop via fe80::2 dev eth0",
    );
    here.run(async || {
        let (_watcher, mut states) = Watcher::start().await.expect("a watcher");
        let eth0 = states.borrow().link_by_name("eth0").expect("eth0").ifindex;
        let gateway = |s: &NetState| s.route(ip(FAR))?.gateway;
        until(&mut states, |s| {
            (gateway(s)? == ip("fe80::1")).then_some(())
        })
        .await;
        here.ip("link set peer1 down");
        until(&mut states, |s| {
            (gateway(s)? == ip("fe80::2")).then_some(())
        })
        .await;
        assert_eq!(
            states.borrow().route(ip(FAR)).expect("a route").ifindex,
            eth0
        );
        there.ip("link set eth0 down");
        let none = |s: &NetState| gateway(s).is_none().then_some(());
        until(&mut states, none).await;
        here.ip("route del 2001:db8:ffff::/48");
        let refused =
            |s: &NetState| matches!(s.hop(ip(FAR)), Err(NoHop::NoRoute { .. })).then_some(());
        until(&mut states, refused).await;
    });
}
