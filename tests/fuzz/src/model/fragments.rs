//! Later fragments follow their first one: section 6.

use std::net::IpAddr;

use lb_common::verdict::Verdict;

use super::{
    Effect, Key, Model, Outcome, Seen,
    parse::{Ip, Piece},
};
use crate::site::Standing;

/// What the fragments of a packet have in common: addresses, identification, protocol
/// (256 for IPv6).
pub type Id = (IpAddr, IpAddr, u32, u16);

/// Where they go.
#[derive(Debug, Clone, Copy)]
pub struct Remembered {
    /// The backend's number.
    pub backend: u16,
    /// The flow.
    pub key: Key,
    /// From the backend to the client.
    pub back: bool,
}

/// What a fragment is known by.
#[must_use]
pub fn id(ip: &Ip, id: u32) -> Id {
    let protocol = if ip.is_v6() {
        256
    } else {
        u16::from(ip.protocol)
    };
    (ip.source, ip.destination, id, protocol)
}

/// What a packet on its way leaves behind if it is the first fragment of one.
pub fn remember(ip: &Ip, backend: u16, key: Key, back: bool) -> Option<Effect> {
    let Piece::First(number) = ip.piece else {
        return None;
    };
    let remembered = Remembered { backend, key, back };
    Some(Effect::Fragment(id(ip, number), remembered))
}

impl Model {
    /// A fragment other than the first.
    pub(super) fn later(&self, seen: &Seen<'_>) -> Vec<Outcome> {
        let Seen { frame, ip, .. } = *seen;

        let Piece::Later(number) = ip.piece else {
            return Vec::new();
        };
        let is_vip = self.site.vip(ip.destination).is_some();
        let known = self.fragments.get(&id(ip, number));
        let backend = known.and_then(|known| self.site.backend(known.backend));
        let (Some(known), Some(backend)) = (known, backend) else {
            return vec![if is_vip {
                Outcome::drop(Verdict::DropFragment)
            } else {
                Outcome::pass(Verdict::PassNotVip, frame)
            }];
        };
        if is_vip && backend.standing == Standing::Down {
            return vec![Outcome::drop(Verdict::DropFragment)];
        }
        if known.back {
            return self.to_client(seen, backend, known.key, Verdict::ReturnFragment);
        }
        let verdict = Verdict::ForwardFragment;
        self.to_backend(seen, backend, known.key, verdict)
    }
}
