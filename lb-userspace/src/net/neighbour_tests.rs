//! Neighbours that are wanted stay usable, against real kernels.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rtnetlink::packet_route::neighbour::NeighbourState;
use tokio::{sync::watch::Receiver, time::timeout};

use super::{
    NetState, Watcher,
    testbed::{Namespace, two_hosts, until},
};

const PEER: &str = "10.0.0.11";
const PEER6: &str = "2001:db8::11";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Makes neighbour entries of one family age in seconds instead of a minute: they are
/// trusted for 1–3 s, longer than the delay of a probe, so that each goes stale first.
fn age_fast(namespace: &Namespace, family: &str) {
    for (name, value) in [
        ("base_reachable_time_ms", "2000"),
        ("delay_first_probe_time", "1"),
        ("retrans_time_ms", "100"),
    ] {
        namespace.sysctl(&format!("{family}/neigh/eth0/{name}"), value);
    }
}

fn eth0(states: &Receiver<Arc<NetState>>) -> u32 {
    states.borrow().link_by_name("eth0").expect("eth0").ifindex
}

/// Waits until a neighbour has been confirmed this often, and is usable all the time.
async fn confirmed(states: &mut Receiver<Arc<NetState>>, peer: IpAddr, times: u32) {
    let eth0 = eth0(states);
    until(states, |s| s.hop(peer).ok()).await;
    let mut last = NeighbourState::None;
    let mut confirmed = 0;
    until(states, |s| {
        assert!(
            s.hop(peer).is_ok(),
            "usable all the time: {:?}",
            s.hop(peer)
        );
        let state = s.neighbour(eth0, peer).expect("known").state;
        confirmed += u32::from(state == NeighbourState::Reachable && last != state);
        last = state;
        (confirmed == times).then_some(())
    })
    .await;
}

#[test]
fn a_wanted_neighbour_is_confirmed_again_and_again() {
    let (here, _there) = two_hosts();
    age_fast(&here, "ipv4");
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        let (eth0, peer) = (eth0(&states), ip(PEER));
        watcher.want(vec![peer]);
        confirmed(&mut states, peer, 3).await;

        // Nobody wants it any more: it stays stale.
        watcher.want(vec![]);
        let stale =
            |s: &NetState| (s.neighbour(eth0, peer)?.state == NeighbourState::Stale).then_some(());
        until(&mut states, stale).await;
        let more = timeout(Duration::from_secs(2), states.changed()).await;
        assert!(more.is_err(), "{:?}", states.borrow().neighbour(eth0, peer));
    });
}

#[test]
fn so_is_one_of_ipv6() {
    let (here, _there) = two_hosts();
    age_fast(&here, "ipv6");
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        watcher.want(vec![ip(PEER6)]);
        confirmed(&mut states, ip(PEER6), 2).await;
    });
}

#[test]
fn a_neighbour_that_moves_silently_is_found_again() {
    let (here, there) = two_hosts();
    age_fast(&here, "ipv4");
    here.run(async || {
        let (watcher, mut states) = Watcher::start().await.expect("a watcher");
        watcher.want(vec![ip(PEER)]);
        until(&mut states, |s| s.hop(ip(PEER)).ok()).await;
        there.ip("link set eth0 address 02:00:00:00:00:22");
        until(&mut states, |s| {
            (s.hop(ip(PEER)).ok()?.destination_mac == [2, 0, 0, 0, 0, 0x22]).then_some(())
        })
        .await;
    });
}
