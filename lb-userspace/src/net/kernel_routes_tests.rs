//! Through any history of routes we choose as a real kernel does.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    NetState, Prefix, Watcher,
    testbed::{Namespace, until},
};

/// A number below a limit, the next of a fixed pseudo-random sequence.
struct Dice(u32);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) % limit
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }
}

/// A route over one of two links that comes, goes, is replaced, appended or put before
/// others.
fn change(dice: &mut Dice) -> String {
    let verb = dice.one(&["add", "add", "replace", "append", "prepend", "del"]);
    let length = dice.one(&[8, 16, 24, 32]);
    let prefix = Prefix::of([20, 0, 0, dice.below(3) as u8].into(), length);
    let (link, metric) = (dice.below(2), dice.below(2));
    let gateway = dice.below(3) + 2;
    let way = match dice.below(5) {
        0 => format!("unreachable {prefix}"),
        1 => format!("{prefix} dev eth{link}"),
        _ => format!("{prefix} via 10.{link}.0.{gateway} dev eth{link}"),
    };
    format!("route {verb} {way} metric {metric}\n")
}

/// The same of IPv6, but nothing is appended: it would join the route that is there.
fn change6(dice: &mut Dice) -> String {
    let verb = dice.one(&["add", "add", "replace", "del", "del"]);
    let length = dice.one(&[20, 40, 64, 128]);
    let low = u128::from(dice.below(3));
    let network = Ipv6Addr::from_bits(0x2002_0000_u128 << 96 | low);
    let prefix = Prefix::of(network.into(), length);
    let (link, metric) = (dice.below(2), dice.below(2) * 2 + u32::from(length));
    let gateway = dice.below(3) + 2;
    let way = match dice.below(6) {
        0 => format!("unreachable {prefix}"),
        1 => format!("{prefix} dev eth{link}"),
        2 => format!("{prefix} via fe80::{gateway} dev eth{link}"),
        _ => format!("{prefix} via fd00:{link}::{gateway} dev eth{link}"),
    };
    format!("route {verb} {way} metric {metric}\n")
}

/// Link, gateway and source of the way to a destination.
type Choice = (Option<String>, Option<String>, Option<String>);

fn of_kernel(namespace: &Namespace, destination: IpAddr) -> Choice {
    let told = namespace.ip_ask(&format!("route get {destination}"));
    if told.starts_with("unreachable") {
        return (None, None, None);
    }
    let words: Vec<_> = told.split_whitespace().collect();
    let after = |key| {
        let place = words.iter().position(|word| *word == key)?;
        words.get(place + 1).map(|word| (*word).to_owned())
    };
    (after("dev"), after("via"), after("src"))
}

fn of_ours(state: &NetState, destination: IpAddr) -> Choice {
    let route = state.route(destination);
    (
        route.and_then(|r| Some(state.link(r.ifindex)?.name.clone())),
        route.and_then(|r| Some(r.gateway?.to_string())),
        route.and_then(|r| Some(r.source?.to_string())),
    )
}

/// Makes changes on links with these addresses, and looks where the destinations lead.
fn check(
    addresses: impl Fn(u32) -> Vec<String>,
    change: fn(&mut Dice) -> String,
    destinations: &[&str],
) {
    let namespace = Namespace::new();
    for link in 0..2 {
        namespace.ip(&format!(
            "link add eth{link} type veth peer name peer{link}"
        ));
        namespace.ip(&format!("link set peer{link} up"));
        namespace.ip(&format!("link set eth{link} up"));
        for address in addresses(link) {
            namespace.ip(&format!("address add {address} dev eth{link}"));
        }
    }
    let mut dice = Dice(1);
    let changes: Vec<String> = (0..300).map(|_| change(&mut dice)).collect();
    namespace.run(async || {
        let (_watcher, mut states) = Watcher::start().await.expect("a watcher");
        for changes in changes.chunks(30) {
            // Some can't be done: the route is there already, or isn't.
            namespace.ip_batch(&changes.concat());
            for destination in destinations {
                let destination: IpAddr = destination.parse().expect("an address");
                let expected = of_kernel(&namespace, destination);
                until(&mut states, |s| {
                    (of_ours(s, destination) == expected).then_some(())
                })
                .await;
            }
        }
    });
}

#[test]
fn routes_as_the_kernel_does() {
    check(
        |link| vec![format!("10.{link}.0.1/24")],
        change,
        &["20.0.0.0", "20.0.0.1", "20.0.0.2", "20.0.1.0", "20.1.0.0"],
    );
}

#[test]
fn routes_of_ipv6_likewise() {
    check(
        |link| {
            ["1", "1:1"]
                .map(|n| format!("fd00:{link}::{n}/64 nodad"))
                .into()
        },
        change6,
        &["2002::", "2002::1", "2002::2", "2002::3", "2002:0:1::"],
    );
}
