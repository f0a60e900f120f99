//! Lists of routes, replaced while packets read them.

use std::sync::atomic::Ordering;

use lb_common::{
    abi::{Hop, Record, Route, Route6},
    limits,
};

use super::memory::{Shared, words_of};

/// A route of either family.
pub(super) trait Listed: Record {
    /// What stands behind the last route.
    const END: Self;
    /// The word with the kind.
    const KIND: usize;
}

impl Listed for Route {
    const END: Route = Route {
        prefix: 0,
        mask: 0,
        kind: Route::END,
        reserved: 0,
        hop: Hop::NONE,
    };
    const KIND: usize = std::mem::offset_of!(Route, kind) / 8;
}

impl Listed for Route6 {
    const END: Route6 = Route6 {
        prefix: [0; 4],
        mask: [0; 4],
        kind: Route::END,
        reserved: 0,
        hop: Hop::NONE,
    };
    const KIND: usize = std::mem::offset_of!(Route6, kind) / 8;
}

/// Replaces a list. Meanwhile the first route says that every destination is the
/// kernel's business, so no packet is sent by a route that is half another.
pub(super) fn replace<R: Listed>(list: &Shared<R>, routes: &[R]) {
    let places = 0..limits::MAX_ROUTES.min(list.length());
    let unchanged = |place: u32| {
        let wanted = routes.get(place as usize).copied().unwrap_or(R::END);
        list.is(place, &wanted)
    };
    if places.clone().all(unchanged) {
        return;
    }
    let first = list.record(0);
    // The kind first: then the route is the kernel's, whatever it is for.
    first[R::KIND].store(u64::from(Route::KERNEL), Ordering::Release);
    for word in &first[..R::KIND] {
        word.store(0, Ordering::Release);
    }
    for place in places.skip(1) {
        let route = routes.get(place as usize).copied().unwrap_or(R::END);
        list.store(place, &route);
    }
    let wanted = routes.first().copied().unwrap_or(R::END);
    let words: Vec<u64> = words_of(&wanted).collect();
    // The kind last: until then it is nobody's but the kernel's.
    let kind_last = (0..words.len()).filter(|&word| word != R::KIND);
    for word in kind_last.chain([R::KIND]) {
        first[word].store(words[word], Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(n: u8) -> Route {
        Route {
            prefix: u32::from_ne_bytes([10, n, 0, 0]),
            mask: u32::from_ne_bytes([255, 255, 0, 0]),
            kind: Route::VIA,
            reserved: 0,
            hop: Hop {
                mtu: 1_500,
                destination: [2, 0, 0, 0, 0, n],
                ..Hop::NONE
            },
        }
    }

    #[test]
    fn a_list_is_replaced_whole() {
        let list = Shared::<Route>::zeroed(limits::MAX_ROUTES);
        for routes in [vec![route(1), route(2)], vec![route(3)], vec![]] {
            replace(&list, &routes);
            let there: Vec<Route> = (0..limits::MAX_ROUTES).map(|i| list.load(i)).collect();
            assert_eq!(there[..routes.len()], routes);
            assert!(
                there[routes.len()..]
                    .iter()
                    .all(|r| *r == <Route as Listed>::END)
            );
        }
    }
}
