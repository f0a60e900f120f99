use std::net::IpAddr;

use rtnetlink::packet_route::address::{AddressFlags as F, AddressScope};

use super::{
    Prefix, Route,
    addresses::{Address, Addresses},
};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// One of link 1 unless `text` ends with `%2`, in its subnet of that length.
fn address(text: &str, flags: F) -> Address {
    let (rest, ifindex) = match text.split_once('%') {
        Some((rest, link)) => (rest, link.parse().expect("a number")),
        None => (text, 1),
    };
    let (ours, length) = rest.split_once('/').expect("a length");
    let scope = match ours {
        _ if ours.starts_with("fe80:") || ours.starts_with("169.254.") => AddressScope::Link,
        "::1" | "127.0.0.1" => AddressScope::Host,
        _ => AddressScope::Universe,
    };
    Address {
        ifindex,
        ip: ip(ours),
        subnet: Prefix::of(ip(ours), length.parse().expect("a number")),
        scope,
        flags,
    }
}

fn by(gateway: Option<&str>) -> Route {
    Route {
        ifindex: 1,
        gateway: gateway.map(ip),
        source: None,
        mtu: None,
    }
}

#[test]
fn speaks_from_as_the_kernel_would() {
    let none = F::empty();
    for (why, addresses, gateway, destination, expected) in [
        ("none", vec![], None, "2001:db8::9", None),
        (
            "of its family",
            vec![("10.0.0.1/24", none)],
            None,
            "2001:db8::9",
            None,
        ),
        (
            "not link-local",
            vec![("fe80::1/64", none)],
            None,
            "2001:db8::9",
            None,
        ),
        (
            "unless the destination is",
            vec![("2001:db8::1/64", none), ("fe80::1/64", none)],
            None,
            "fe80::9",
            Some("fe80::1"),
        ),
        (
            "never another link's link-local one",
            vec![("fe80::1/64%2", none)],
            None,
            "fe80::9",
            None,
        ),
        (
            "not while it may be a duplicate",
            vec![
                ("2001:db8::1/64", F::Tentative),
                ("2001:db8::2/64", F::Dadfailed | F::Permanent),
                ("2001:db8:1::3/64", none),
            ],
            None,
            "2001:db8::9",
            Some("2001:db8:1::3"),
        ),
        (
            "optimism is the operator's",
            vec![("2001:db8::1/64", F::Tentative | F::Optimistic)],
            None,
            "2001:db8::9",
            Some("2001:db8::1"),
        ),
        (
            "a deprecated one last",
            vec![
                ("2001:db8::1/64", F::Deprecated),
                ("2001:db8:1::1/64%2", none),
            ],
            None,
            "2001:db8::9",
            Some("2001:db8:1::1"),
        ),
        (
            "but rather than none",
            vec![("2001:db8::1/64", F::Deprecated)],
            None,
            "2001:db8::9",
            Some("2001:db8::1"),
        ),
        (
            "the link's own before a nearer one",
            vec![("2001:db8::1/64%2", none), ("2001:db8:1::1/64", none)],
            None,
            "2001:db8::9",
            Some("2001:db8:1::1"),
        ),
        (
            "of its kind",
            vec![("2001:db8::1/64", none), ("fd00::1/64", none)],
            None,
            "fd00:1::9",
            Some("fd00::1"),
        ),
        (
            "a lasting one",
            vec![("2001:db8::1/64", F::Secondary), ("2001:db8::2/64", none)],
            None,
            "2001:db8::9",
            Some("2001:db8::2"),
        ),
        (
            "the longest common prefix",
            vec![("2001:db8:9::1/64", none), ("2001:db8:2::1/64", none)],
            None,
            "2001:db8:2::9",
            Some("2001:db8:2::1"),
        ),
        (
            "but no longer than its subnet's",
            vec![("2001:db8:2::1/64", none), ("2001:db8:2::8/64", none)],
            None,
            "2001:db8:2::9",
            Some("2001:db8:2::1"),
        ),
        (
            "in the router's subnet",
            vec![("10.0.0.1/24", none), ("10.1.0.1/24", none)],
            Some("10.1.0.9"),
            "192.0.2.1",
            Some("10.1.0.1"),
        ),
        (
            "else the first",
            vec![("10.1.0.1/24", none), ("10.0.0.1/24", none)],
            None,
            "10.0.0.9",
            Some("10.1.0.1"),
        ),
        (
            "by an IPv6 router too",
            vec![("10.1.0.1/24", none), ("fe80::1/64", none)],
            Some("fe80::9"),
            "192.0.2.1",
            Some("10.1.0.1"),
        ),
        (
            "no secondary one",
            vec![("10.0.0.2/24", F::Secondary), ("10.0.0.1/24", none)],
            Some("10.0.0.9"),
            "192.0.2.1",
            Some("10.0.0.1"),
        ),
        (
            "another link's if it has none",
            vec![
                ("127.0.0.1/8%3", none),
                ("169.254.0.1/16%2", none),
                ("10.0.0.1/32%2", none),
            ],
            Some("192.0.2.9"),
            "192.0.2.1",
            Some("10.0.0.1"),
        ),
    ] {
        let mut known = Addresses::default();
        for (text, flags) in addresses {
            known.push(address(text, flags));
        }
        let source = known.source(&by(gateway), ip(destination));
        assert_eq!(source, expected.map(ip), "{why}");
    }
}

#[test]
fn the_newest_ipv6_address_is_the_kernels_first() {
    let mut known = Addresses::default();
    for text in ["10.0.0.1/24", "10.0.0.2/24", "2001:db8::8/64"] {
        known.insert(address(text, F::empty()));
    }
    assert!(known.insert(address("2001:db8::9/64", F::Tentative)));
    assert!(known.insert(address("2001:db8::9/64", F::empty())));
    assert!(!known.insert(address("2001:db8::9/64", F::empty())));
    let source = |to| known.source(&by(None), ip(to));
    assert_eq!(source("2001:db8::aaaa"), Some(ip("2001:db8::9")));
    assert_eq!(source("192.0.2.1"), Some(ip("10.0.0.1")));
}
