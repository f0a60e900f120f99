use lb_common::{abi::Route, limits};

use super::{HopRef, NEIGHBOURS, NEIGHBOURS6, field, region, word};
use crate::ip::{Address as _, Six};

/// An address that there are routes to.
pub trait Destination {
    /// The next hop on the way there.
    fn route(self) -> Option<HopRef>;
}

/// The next hop on the way back to a client.
#[inline(always)]
#[must_use]
pub fn route<A: Destination>(client: A) -> Option<HopRef> {
    client.route()
}

impl Destination for u32 {
    #[inline(always)]
    fn route(self) -> Option<HopRef> {
        for index in 0..limits::MAX_ROUTES {
            let route = region::routes().at(index);
            let kind = field!(route, kind);
            if kind == Route::END {
                return None;
            }
            if self & field!(route, mask) != field!(route, prefix) {
                continue;
            }
            return match kind {
                // SAFETY: a place inside the record; nothing is read.
                Route::VIA => Some(HopRef::of(unsafe { &raw const (*route).hop })),
                Route::ON_LINK => NEIGHBOURS.get_ptr(self).map(HopRef::of),
                _ => None,
            };
        }
        None
    }
}

impl Destination for Six {
    #[inline(always)]
    fn route(self) -> Option<HopRef> {
        for index in 0..limits::MAX_ROUTES {
            let route = region::routes6().at(index);
            let kind = field!(route, kind);
            if kind == Route::END {
                return None;
            }
            let high = self.high & word!(route, 2) == word!(route, 0);
            if !high || self.low & word!(route, 3) != word!(route, 1) {
                continue;
            }
            return match kind {
                // SAFETY: a place inside the record; nothing is read.
                Route::VIA => Some(HopRef::of(unsafe { &raw const (*route).hop })),
                Route::ON_LINK => NEIGHBOURS6.get_ptr(self.words()).map(HopRef::of),
                _ => None,
            };
        }
        None
    }
}
