use std::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use proptest::prelude::*;

use super::{
    Prefix, Route,
    routes::{Entry, Preference, Routes},
};

/// Few different bits at both ends, so that prefixes nest.
fn address() -> impl Strategy<Value = IpAddr> {
    (0u8..16, any::<bool>()).prop_map(|(bits, v6)| match v6 {
        false => Ipv4Addr::new(bits << 4, 0, 0, bits).into(),
        true => Ipv6Addr::from_bits(u128::from(bits) << 124 | u128::from(bits)).into(),
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    use Preference::{High, Low, Medium};
    let preference = prop::sample::select(vec![High, Medium, Low]);
    (address(), 0u8..=128, 0u32..3, preference, 1u32..4).prop_map(
        |(address, length, metric, preference, ifindex)| Entry {
            prefix: Prefix::of(address, length),
            metric,
            preference,
            way: Ok(Route {
                ifindex,
                gateway: None,
                source: None,
                mtu: None,
            }),
        },
    )
}

proptest! {
    #[test]
    fn lookup_is_longest_prefix_then_lowest_metric_then_preference_then_first(
        entries in prop::collection::vec(entry(), 0..40),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        destination in address(),
    ) {
        let mut model = entries.clone();
        let mut routes = Routes::default();
        for entry in &entries {
            routes.push(entry);
        }
        for index in removed {
            if !entries.is_empty() {
                let entry = index.get(&entries);
                // The kernel's word that a route is gone doesn't tell equals apart.
                let same = |e: &&Entry| (e.prefix, e.metric, e.way) == (entry.prefix, entry.metric, entry.way);
                let first = model.iter().filter(same).min_by_key(|e| e.preference).copied();
                let place = first.and_then(|first| model.iter().position(|e| *e == first));
                prop_assert_eq!(routes.remove(entry), place.is_some());
                place.map(|place| model.remove(place));
            }
        }
        let matching = model.iter().filter(|e| e.prefix.contains(destination));
        let best = matching.min_by_key(|e| (Reverse(e.prefix.length), e.metric, e.preference));
        prop_assert_eq!(routes.lookup(destination), best.map(|e| e.way));
    }
}
