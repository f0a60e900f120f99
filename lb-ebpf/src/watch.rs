//! New connections are told to whoever watches.

use lb_common::abi::{Family, Opened};

use crate::{
    clock,
    ip::{Address as _, Ip, Six},
    maps::{self, BackendRef},
    parse::Reading,
};

/// Tells that a connection begins with this segment, which goes to `backend`. While nobody
/// watches that is a load and a branch. The segment is as it came.
#[inline(always)]
pub fn opened<I: Ip>(segment: &impl Reading<I>, backend: BackendRef) {
    if !maps::is_watched() {
        return;
    }
    let (flow, protocol) = (segment.flow(), segment.protocol());
    let [a, b, c, d] = flow.client.words();
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let rest = u64::from(flow.ports())
        | u64::from(backend.number()) << 32
        | u64::from(protocol) << 48
        | (I::FAMILY as u64) << 56;
    step_watch(pair(a, b), pair(c, d), rest);
}

/// Tells of a connection: the client's address, and the ports, the backend's number, the
/// protocol and the family in one word.
#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_watch(high: u64, low: u64, rest: u64) -> u64 {
    let backend = BackendRef::get((rest >> 32) as u16);
    let now = clock::monotonic_ns();
    if !maps::watched(backend.service(), now) {
        return 0;
    }
    maps::tell(now, || Opened {
        at: now,
        client: [
            high as u32,
            (high >> 32) as u32,
            low as u32,
            (low >> 32) as u32,
        ],
        // IPv4 has only the first word.
        vip: backend.vip::<Six>().words(),
        client_port: rest as u16,
        vip_port: (rest >> 16) as u16,
        backend: backend.number(),
        service: backend.service(),
        protocol: (rest >> 48) as u8,
        family: (rest >> 56) as u8,
        reserved: [0; 6],
    });
    0
}

const _: () = assert!(Family::V6 as u64 == 1);
