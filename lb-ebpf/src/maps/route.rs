use lb_common::{
    abi::{Neighbour, Route, Route6},
    limits,
};

use super::{HopWords, NEIGHBOURS, NEIGHBOURS6, field, region, word};
use crate::ip::{Address as _, Six};

const _: () = assert!(core::mem::offset_of!(Route, hop) == 2 * 8);
const _: () = assert!(core::mem::offset_of!(Route6, hop) == 5 * 8);

/// An address that there are routes to.
pub trait Destination {
    /// The next hop on the way there.
    fn route(self) -> Option<HopWords>;
}

/// The next hop on the way back to a client.
#[inline(always)]
#[must_use]
pub fn route<A: Destination>(client: A) -> Option<HopWords> {
    client.route()
}

impl Destination for u32 {
    #[inline(always)]
    fn route(self) -> Option<HopWords> {
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
                Route::VIA => Some(HopWords {
                    device: word!(route, 2),
                    macs: word!(route, 3),
                    source: word!(route, 4) as u32,
                }),
                Route::ON_LINK => neighbour(NEIGHBOURS.get_ptr(self)?),
                _ => None,
            };
        }
        None
    }
}

impl Destination for Six {
    #[inline(always)]
    fn route(self) -> Option<HopWords> {
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
                Route::VIA => Some(HopWords {
                    device: word!(route, 5),
                    macs: word!(route, 6),
                    source: word!(route, 7) as u32,
                }),
                Route::ON_LINK => neighbour(NEIGHBOURS6.get_ptr(self.words())?),
                _ => None,
            };
        }
        None
    }
}

#[inline(always)]
fn neighbour(neighbour: *const Neighbour) -> Option<HopWords> {
    Some(HopWords {
        device: word!(neighbour, 0),
        macs: word!(neighbour, 1),
        source: word!(neighbour, 2) as u32,
    })
}
