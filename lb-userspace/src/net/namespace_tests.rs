//! The watcher against real kernels' announcements.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use rtnetlink::packet_route::neighbour::NeighbourState;
use tokio::time::{Instant, timeout};

use super::{
    Family, NoHop, Watcher,
    testbed::{DEADLINE, Namespace, until},
};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x22];

/// Two hosts that can talk.
fn two_hosts() -> (Namespace, Namespace) {
    let (here, there) = (Namespace::new(), Namespace::new());
    here.wire(&there);
    here.ip("link set eth0 up");
    here.ip("address add 10.0.0.1/24 dev eth0");
    there.ip("address add 10.0.0.11/24 dev eth0");
    (here, there)
}

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
        assert!(
            changed.elapsed() < Duration::from_secs(2),
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

/// Makes neighbour entries age in seconds instead of a minute: they are trusted
/// for 1–3 s, longer than the delay of a probe, so that each goes stale first.
fn age_fast(namespace: &Namespace) {
    namespace.sysctl("ipv4/neigh/eth0/base_reachable_time_ms", "2000");
    namespace.sysctl("ipv4/neigh/eth0/delay_first_probe_time", "1");
    namespace.sysctl("ipv4/neigh/eth0/retrans_time_ms", "100");
}

#[test]
fn a_wanted_neighbour_is_confirmed_again_and_again() {
    let (here, _there) = two_hosts();
    age_fast(&here);
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        let eth0 = states.borrow().link_by_name("eth0").expect("eth0").ifindex;
        watcher.want(vec![PEER]);
        until(&mut states, |s| s.hop(PEER).ok()).await;

        let mut last = NeighbourState::None;
        let mut confirmed = 0;
        until(&mut states, |s| {
            assert!(
                s.hop(PEER).is_ok(),
                "usable all the time: {:?}",
                s.hop(PEER)
            );
            let state = s.neighbour(eth0, PEER).expect("known").state;
            confirmed += u32::from(state == NeighbourState::Reachable && last != state);
            last = state;
            (confirmed == 3).then_some(())
        })
        .await;

        // Nobody wants it any more: it stays stale.
        watcher.want(vec![]);
        let stale = |s: &super::NetState| {
            (s.neighbour(eth0, PEER)?.state == NeighbourState::Stale).then_some(())
        };
        until(&mut states, stale).await;
        let more = timeout(Duration::from_secs(2), states.changed()).await;
        assert!(more.is_err(), "{:?}", states.borrow().neighbour(eth0, PEER));
    });
}

#[test]
fn a_neighbour_that_moves_silently_is_found_again() {
    let (here, there) = two_hosts();
    age_fast(&here);
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        watcher.want(vec![PEER]);
        until(&mut states, |s| s.hop(PEER).ok()).await;
        there.ip("link set eth0 address 02:00:00:00:00:22");
        until(&mut states, |s| {
            (s.hop(PEER).ok()?.destination_mac == OTHER_MAC).then_some(())
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

/// Routes over two links that come, go, are replaced, appended and put before
/// others, by a fixed pseudo-random sequence.
fn route_changes() -> Vec<String> {
    let mut seed = 1u32;
    let mut below = move |limit: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % limit
    };
    let verbs = ["add", "add", "replace", "append", "prepend", "del"];
    let change = |_| {
        let verb = verbs[below(6) as usize];
        let length = [8, 16, 24, 32][below(4) as usize];
        let prefix = super::Prefix::of([20, 0, 0, below(3) as u8].into(), length);
        let (link, metric) = (below(2), below(2));
        let gateway = below(3) + 2;
        let way = match below(5) {
            0 => format!("unreachable {prefix}"),
            1 => format!("{prefix} dev eth{link}"),
            _ => format!("{prefix} via 10.{link}.0.{gateway} dev eth{link}"),
        };
        format!("route {verb} {way} metric {metric}\n")
    };
    (0..300).map(change).collect()
}

#[test]
fn routes_as_the_kernel_does() {
    let namespace = Namespace::new();
    for link in 0..2 {
        namespace.ip(&format!(
            "link add eth{link} type veth peer name peer{link}"
        ));
        namespace.ip(&format!("link set peer{link} up"));
        namespace.ip(&format!("link set eth{link} up"));
        namespace.ip(&format!("address add 10.{link}.0.1/24 dev eth{link}"));
    }
    namespace.run(async || {
        let (_watcher, mut states) = Watcher::start().await.expect("a watcher");
        for changes in route_changes().chunks(30) {
            // Some can't be done: the route is there already, or isn't.
            namespace.ip_batch(&changes.concat());
            for destination in [
                [20, 0, 0, 0],
                [20, 0, 0, 1],
                [20, 0, 0, 2],
                [20, 0, 1, 0],
                [20, 1, 0, 0],
            ] {
                let destination = IpAddr::from(destination);
                let kernel = namespace.ip_ask(&format!("route get {destination}"));
                let words: Vec<_> = kernel.split_whitespace().collect();
                let after = |key| {
                    let place = words.iter().position(|word| *word == key)?;
                    words.get(place + 1).map(|word| (*word).to_owned())
                };
                let expected = (after("dev"), after("via"), after("src"));
                until(&mut states, |s| {
                    let route = s.route(destination);
                    let ours = (
                        route.and_then(|r| Some(s.link(r.ifindex)?.name.clone())),
                        route.and_then(|r| Some(r.gateway?.to_string())),
                        route.and_then(|r| Some(r.source?.to_string())),
                    );
                    (ours == expected).then_some(())
                })
                .await;
            }
        }
    });
}
