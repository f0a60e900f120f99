use rtnetlink::packet_route::{RouteNetlinkMessage as M, link::LinkFlags};

use super::*;
use crate::daemon::aims::tests::{ETH0, ETH1, INNER, address, ip, link, net, ports};

/// A configuration with one service and one group with these keys.
fn config(keys: &str) -> Config {
    let text = format!(
        "[node]\ninterfaces = [\"eth0\", \"eth1\"]\n[[vrrp]]\nname = \"site\"\ninterface = \"eth0\"\n\
         vrid = 51\n{keys}\n[[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\nport = 80\n\
         protocol = \"tcp\"\nforward = \"dsr\"\n[[service]]\nname = \"six\"\nvip = \"2001:db8::10\"\n\
         port = 80\nprotocol = \"tcp\"\nforward = \"dsr\"\n"
    );
    Config::parse("test.toml", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn group(keys: &str) -> Group {
    config(keys).groups.remove(0)
}

#[test]
fn a_group_advertises_from_its_interface() {
    let net = net();
    assert_eq!(place(&group(""), &net), Ok((ETH0, ip("192.0.2.2"))));
    let other = group("address = \"10.0.7.1\"");
    assert_eq!(place(&other, &net), Ok((ETH0, ip("10.0.7.1"))));
}

#[test]
fn what_a_group_lacks_is_named() {
    let net = net();
    let told = |group: &Group| place(group, &net).unwrap_err().to_string();
    let strange = told(&group("address = \"192.0.2.9\""));
    assert!(
        strange.contains("192.0.2.9 is not this node's"),
        "{strange}"
    );
    // IPv6 is spoken from a link-local address, and there is none.
    let six = told(&group("peers = [\"fe80::9\"]"));
    assert!(six.contains("eth0 has no IPv6 address"), "{six}");
    let mut gone = group("");
    gone.interface = "eth7".to_owned();
    assert!(told(&gone).contains("no interface eth7"));
}

/// On the links whose network they are of, a VLAN on an interface of ours too; else on
/// the group's.
#[test]
fn addresses_are_announced_where_they_are_asked_for() {
    let group = group("gateways = [\"10.0.7.254\", \"172.16.0.1\"]");
    let found = addresses(&group, &net(), &ports());
    assert_eq!(found.advertised, [ip("203.0.113.10")]);
    let at = |address: &str, ifindex| Announced {
        address: ip(address),
        ifindex,
    };
    let mut announced = found.announced;
    announced.sort_by_key(|one| one.address);
    assert_eq!(
        announced,
        [
            at("10.0.7.254", INNER),
            at("172.16.0.1", ETH0),
            at("203.0.113.10", ETH0),
            at("2001:db8::10", ETH0),
        ]
    );
    // Where no program runs nobody would answer.
    let only = &ports()[1..];
    let found = addresses(&group, &net(), only).announced;
    assert!(
        found.contains(&at("2001:db8::10", ETH0)),
        "its own interface"
    );
}

#[test]
fn tracking_adds_up() {
    let group = group(
        "[[vrrp.track]]\ninterface = \"eth1\"\npenalty = 200\n[[vrrp.track]]\nservice = \"web\"\n\
         backends = 2\npenalty = 100\n[[vrrp.track]]\nservice = \"six\"",
    );
    let well = burden(&group, &net(), |_| 2);
    assert_eq!(well, Burden::default());

    let mut cut = link(ETH1, "eth1", 1_500);
    cut.header.flags = LinkFlags::Up;
    let net = NetState::from_dump(&[
        M::NewLink(link(ETH0, "eth0", 1_500)),
        M::NewLink(cut),
        address(ETH0, "192.0.2.2", 24),
    ]);
    let bad = burden(&group, &net, |_| 1);
    assert_eq!((bad.penalty, bad.fault), (255, false));
    assert_eq!(
        bad.reasons,
        ["eth1 is down", "service web has 1 of 2 backends"]
    );
    let worse = burden(&group, &net, |_| 0);
    assert!(worse.fault && worse.reasons.len() == 3, "{worse:?}");
    assert!(is_up(&group, &net));
}

#[test]
fn groups_are_counted_from_one() {
    let config = config("gateways = [\"10.0.7.254\"]");
    let numbers: Vec<_> = numbers(&config).collect();
    assert_eq!(numbers.len(), 3);
    assert!(numbers.iter().all(|(_, number)| *number == 1));
}
