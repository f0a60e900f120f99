use std::{
    collections::BTreeSet,
    net::Ipv6Addr,
    time::{Duration, Instant},
};

use super::{Groups, groups::solicited_node, testbed::Namespace};

const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99);

/// A namespace with `eth0` up, and its ifindex.
fn with_link() -> (Namespace, u32) {
    let namespace = Namespace::new();
    add_link(&namespace);
    (namespace, 77)
}

fn add_link(namespace: &Namespace) {
    namespace.ip("link add eth0 index 77 type veth peer name eth1");
    namespace.ip("link set eth1 up");
    namespace.ip("link set eth0 up");
}

/// Whether `eth0` lets the group of `vip` in, by IP's list and by the NIC's.
fn member(namespace: &Namespace, vip: Ipv6Addr) -> bool {
    let [by_ip, by_nic] = lets_in(namespace, vip);
    assert_eq!(by_ip, by_nic, "{vip}");
    by_ip
}

/// What IP's list says and what the NIC's, which aren't read at the same moment.
fn lets_in(namespace: &Namespace, vip: Ipv6Addr) -> [bool; 2] {
    let group = solicited_node(vip);
    let read = |name: &str| {
        let path = format!("/proc/thread-self/net/{name}");
        namespace.enter(|| std::fs::read_to_string(&path).expect("a list"))
    };
    let hex: String = group.octets().iter().map(|b| format!("{b:02x}")).collect();
    let listed = |list: &str, address: &str| {
        let on_link = |line: &&str| line.split_whitespace().nth(1) == Some("eth0");
        list.lines()
            .filter(on_link)
            .any(|line| line.contains(address))
    };
    let by_ip = listed(&read("igmp6"), &hex);
    let by_nic = listed(&read("dev_mcast"), &format!("3333{}", &hex[24..]));
    [by_ip, by_nic]
}

#[test]
fn the_group_of_an_address() {
    let group: Ipv6Addr = "ff02::1:ff12:3456".parse().expect("an address");
    assert_eq!(solicited_node(VIP), group);
}

#[test]
fn joins_and_leaves_the_difference() {
    let (namespace, eth0) = with_link();
    let mut groups = Groups::default();
    for wanted in [vec![VIP], vec![VIP, OTHER], vec![OTHER], vec![]] {
        let pairs = wanted.iter().map(|vip| (eth0, *vip)).collect();
        let errors = namespace.enter(|| groups.set(&pairs));
        assert!(errors.is_empty(), "{errors:?}");
        for vip in [VIP, OTHER] {
            assert_eq!(member(&namespace, vip), wanted.contains(&vip), "{wanted:?}");
        }
    }
    namespace.enter(|| groups.set(&BTreeSet::from([(eth0, VIP)])));
    assert!(member(&namespace, VIP));
    drop(groups);
    // A child that another test is starting at this moment has the sockets until it runs.
    let deadline = Instant::now() + Duration::from_secs(10);
    while lets_in(&namespace, VIP) != [false; 2] {
        assert!(Instant::now() < deadline, "nothing outlives it");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_link_that_came_back_is_joined_again() {
    let (namespace, eth0) = with_link();
    let wanted = BTreeSet::from([(eth0, VIP)]);
    let mut groups = Groups::default();
    let mut set = || namespace.enter(|| groups.set(&wanted));
    assert!(set().is_empty());

    // With the same number, so that the wish is the same too.
    namespace.ip("link del eth0");
    add_link(&namespace);
    assert!(!member(&namespace, VIP));
    assert!(set().is_empty());
    assert!(member(&namespace, VIP));

    namespace.ip("link set eth0 mtu 1000");
    let errors = set();
    let [error] = errors.as_slice() else {
        panic!("{errors:?}")
    };
    let text = error.to_string();
    let expected = "link number 77 can't join ff02::1:ff12:3456, where neighbours ask for 2001:db8::12:3456: Invalid argument";
    assert!(text.starts_with(expected), "{text}");
    namespace.ip("link set eth0 mtu 1500");
    assert!(!member(&namespace, VIP));
    assert!(set().is_empty());
    assert!(member(&namespace, VIP));
}

#[test]
fn a_missing_link_stops_no_other() {
    let (namespace, eth0) = with_link();
    let mut groups = Groups::default();
    let wanted = BTreeSet::from([(1000, VIP), (eth0, VIP), (999, OTHER)]);
    let errors = namespace.enter(|| groups.set(&wanted));
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "link number 999 can't join ff02::1:ff00:99, where neighbours ask for 2001:db8::99: there is no such link",
            "link number 1000 can't join ff02::1:ff12:3456, where neighbours ask for 2001:db8::12:3456: there is no such link",
        ]
    );
    assert!(member(&namespace, VIP));
}

#[test]
fn a_thousand_groups() {
    let (namespace, eth0) = with_link();
    // What kernels before 6.9 begin with; those don't have it here, and need it no lower.
    let _ = namespace.enter(|| std::fs::write("/proc/sys/net/core/optmem_max", "20480"));
    let vip = |n: u128| Ipv6Addr::from_bits(VIP.to_bits() + n);
    let wanted = (0..1000).map(|n| (eth0, vip(n))).collect();
    let mut groups = Groups::default();
    let errors = namespace.enter(|| groups.set(&wanted));
    assert!(errors.is_empty(), "{errors:?}");
    assert!(member(&namespace, vip(0)) && member(&namespace, vip(999)));
}
