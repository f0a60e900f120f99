//! The watcher against real kernels' announcements.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{
    Family, NoHop, Watcher,
    testbed::{DEADLINE, Namespace, two_hosts, until},
};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x22];

#[test]
fn sees_what_comes_and_goes() {
    let (here, there) = (Namespace::new(), Namespace::new());
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        let first = states.borrow().clone();
        assert!(first.link_by_name("lo").is_some(), "whole from the start");
        assert_eq!(first.link_by_name("eth0"), None);
        watcher.want(vec![PEER]);

        here.wire(&there);
        let link = until(&mut states, |s| s.link_by_name("eth0").cloned()).await;
        assert_eq!(link.mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!((link.mtu, link.up), (1400, false));
        let eth0 = link.ifindex;

        here.ip("address add 10.0.0.1/24 dev eth0");
        until(&mut states, |s| s.is_local(OURS).then_some(())).await;
        let down = NoHop::LinkDown {
            link: "eth0".into(),
        };
        assert_eq!(states.borrow().hop(PEER), Err(down.clone()));

        here.ip("link set eth0 up");
        let route = until(&mut states, |s| s.route(PEER)).await;
        assert_eq!(
            (route.ifindex, route.gateway, route.source),
            (eth0, None, Some(OURS))
        );

        // Nobody has the address yet; when somebody does, no more is needed.
        let failed = |s: &super::NetState| {
            let error = s.hop(PEER).err()?.to_string();
            error
                .contains("10.0.0.11 on eth0 not resolved (FAILED)")
                .then_some(())
        };
        until(&mut states, failed).await;
        there.ip("address add 10.0.0.11/24 dev eth0");
        let hop = until(&mut states, |s| s.hop(PEER).ok()).await;
        assert_eq!(hop.ifindex, eth0);
        assert_eq!(
            (hop.source_mac, hop.destination_mac),
            ([2, 0, 0, 0, 0, 1], MAC)
        );
        assert_eq!((hop.via, hop.onlink), (PEER, true));

        // Another MAC, announced by its owner.
        there.sysctl("ipv4/conf/eth0/arp_notify", "1");
        let changed = Instant::now();
        there.ip("link set eth0 address 02:00:00:00:00:22");
        until(&mut states, |s| {
            (s.hop(PEER).ok()?.destination_mac == OTHER_MAC).then_some(())
        })
        .await;
        // What has just been confirmed is trusted for 15 s at least.
        assert!(
            changed.elapsed() < Duration::from_secs(10),
            "at once, not by a probe"
        );

        // Routes that go with their link go silently.
        here.ip("route add 198.51.100.0/24 via 10.0.0.11");
        let beyond = IpAddr::from([198, 51, 100, 7]);
        let hop = until(&mut states, |s| s.hop(beyond).ok()).await;
        assert_eq!(
            (hop.via, hop.onlink, hop.destination_mac),
            (PEER, false, OTHER_MAC)
        );
        here.ip("link set eth0 down");
        until(&mut states, |s| {
            (s.hop(PEER) == Err(down.clone())).then_some(())
        })
        .await;
        until(&mut states, |s| s.route(beyond).is_none().then_some(())).await;

        here.ip("link del eth0");
        until(&mut states, |s| s.link(eth0).is_none().then_some(())).await;
        until(&mut states, |s| (!s.is_local(OURS)).then_some(())).await;
    });
}

#[test]
fn a_lost_carrier_is_seen() {
    let (here, there) = two_hosts();
    here.run(async || {
        let (_watcher, mut states) = Watcher::start().await.expect("a watcher");
        there.ip("link set eth0 down");
        let lost = NoHop::NoCarrier {
            link: "eth0".into(),
        };
        until(&mut states, |s| {
            (s.hop(PEER) == Err(lost.clone())).then_some(())
        })
        .await;
    });
}

#[test]
fn a_flood_of_announcements_loses_nothing() {
    const NEIGHBOURS: u32 = 6000;
    let (here, _there) = two_hosts();
    here.run(async || {
        let (_watcher, mut states) = Watcher::start().await.expect("a watcher");
        let eth0 = states.borrow().link_by_name("eth0").expect("eth0").ifindex;
        let lines: String = (0..NEIGHBOURS)
            .map(|n| {
                let ip = Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 0).to_bits() + n);
                format!("neigh add {ip} lladdr 02:00:00:01:00:00 dev eth0 nud permanent\n")
            })
            .collect();
        // The watcher can't read meanwhile: this is its only thread.
        here.ip_batch(&lines);
        let all = |s: &super::NetState| {
            (s.neighbours(Family::V4, &[eth0]).count() == NEIGHBOURS as usize).then_some(())
        };
        until(&mut states, all).await;
    });
}

#[test]
fn dropping_the_watcher_ends_it() {
    let namespace = Namespace::new();
    namespace.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        drop(watcher);
        let ended = async { while states.changed().await.is_ok() {} };
        timeout(DEADLINE, ended).await.expect("the sender is gone");
    });
}
