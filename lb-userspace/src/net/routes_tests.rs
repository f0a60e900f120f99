use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::{
    Prefix, Route,
    routes::{Entry, Routes},
};

fn entry() -> impl Strategy<Value = Entry> {
    // Few different bits, so that prefixes nest.
    (0u32..16, 0u8..=32, 0u32..3, 1u32..4).prop_map(|(high, length, metric, ifindex)| Entry {
        prefix: Prefix::of(Ipv4Addr::from_bits(high << 28 | high), length),
        metric,
        way: Ok(Route {
            ifindex,
            gateway: None,
            source: None,
        }),
    })
}

proptest! {
    #[test]
    fn lookup_is_longest_prefix_then_lowest_metric_then_first(
        entries in prop::collection::vec(entry(), 0..40),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        destination in (0u32..16, 0u32..16).prop_map(|(high, low)| Ipv4Addr::from_bits(high << 28 | low)),
    ) {
        let mut model = entries.clone();
        let mut routes = Routes::default();
        for entry in &entries {
            routes.push(entry);
        }
        for index in removed {
            if !entries.is_empty() {
                let entry = index.get(&entries);
                let place = model.iter().position(|e| e == entry);
                prop_assert_eq!(routes.remove(entry), place.is_some());
                place.map(|place| model.remove(place));
            }
        }
        let matching = model.iter().filter(|e| e.prefix.contains(destination));
        let best = matching.min_by_key(|e| (32 - e.prefix.length, e.metric));
        prop_assert_eq!(routes.lookup(destination), best.map(|e| e.way));
    }
}
