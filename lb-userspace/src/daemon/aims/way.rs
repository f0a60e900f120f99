//! The way to a backend.

use std::{fmt, net::IpAddr};

use lb_common::{
    abi::{self, Tunnel},
    tags::Tags,
};

use super::{Port, forward};
use crate::{
    config::model::{self, Backend, Config, Encapsulation, Forward, Service},
    net::{self, Family, NetState, NoHop, VlanProtocol, VlanTags},
    plan,
};

/// The shortest that every path for IPv4 must take whole, in bytes (RFC 791 section 3.1:
/// what every host must be able to receive), and for IPv6 (RFC 8200 section 5).
const LEAST: [u32; 2] = [576, 1_280];

/// How a backend is reached, or why it can't be.
pub type Way = Result<Found, NoWay>;

/// How a backend is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The next hop, as the kernel knows it.
    pub hop: net::Hop,
    record: abi::Hop,
    tunnel: Tunnel,
}

/// Why a backend can't be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoWay {
    /// What is wrong, and the way out.
    pub reason: String,
    /// Whether the way known before is no good either. Otherwise it is missing perhaps
    /// for a moment only.
    is_barred: bool,
}

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

fn barred(reason: String) -> NoWay {
    NoWay {
        reason,
        is_barred: true,
    }
}

/// What a plan makes of a way.
pub(super) fn planned(way: &Way) -> plan::Way {
    match way {
        Ok(found) => plan::Way::Known(found.record, found.tunnel),
        Err(NoWay {
            is_barred: false, ..
        }) => plan::Way::Unknown,
        Err(_) => plan::Way::Barred,
    }
}

/// The way to a backend.
pub(super) fn find(
    config: &Config,
    service: &Service,
    backend: &Backend,
    net: &NetState,
    ports: &[Port],
) -> Way {
    let hop = net.hop(backend.address).map_err(|no| NoWay {
        is_barred: is_final(&no),
        reason: no.to_string(),
    })?;
    if service.forward == Forward::Dsr && !hop.onlink {
        return Err(barred(format!(
            "behind the router {}: dsr needs the backend on the same link; use a tunnel, nat or full-nat",
            hop.via
        )));
    }
    let record = to(&hop, ports).ok_or_else(|| {
        let name = net
            .link(hop.port)
            .map_or("another interface", |link| link.name.as_str());
        barred(format!(
            "reached by {name}, which is not in [node] interfaces"
        ))
    })?;
    width(service, backend, &hop)?;
    let tunnel = match service.forward {
        Forward::Tunnel(encapsulation) => {
            tunnel(&config.tunnel, encapsulation, backend.address, net)?
        }
        Forward::Dsr | Forward::Nat | Forward::FullNat => Tunnel::NONE,
    };
    Ok(Found {
        hop,
        record,
        tunnel,
    })
}

/// Whether this is so by configuration, not just now.
fn is_final(no: &NoHop) -> bool {
    match no {
        NoHop::Local { .. }
        | NoHop::LinkLocal { .. }
        | NoHop::Refused { .. }
        | NoHop::NoMac { .. }
        | NoHop::NoParent { .. }
        | NoHop::TooManyVlans { .. } => true,
        NoHop::NoRoute { .. }
        | NoHop::NoLink { .. }
        | NoHop::LinkDown { .. }
        | NoHop::NoCarrier { .. }
        | NoHop::Unresolved { .. } => false,
    }
}

/// A next hop's record; `None` when it isn't behind one of our interfaces.
pub(super) fn to(hop: &net::Hop, ports: &[Port]) -> Option<abi::Hop> {
    let port = ports.iter().find(|port| port.ifindex == hop.port)?;
    Some(abi::Hop {
        egress: port.egress,
        mtu: hop.mtu.min(u32::from(u16::MAX)) as u16,
        tags: tags(hop.vlans),
        destination: hop.destination_mac,
        source: hop.source_mac,
        reserved: [0; 4],
    })
}

fn tags(vlans: VlanTags) -> Tags {
    let outermost_first: Vec<_> = vlans.iter().collect();
    let innermost_first = outermost_first.into_iter().rev();
    innermost_first.fold(Tags::NONE, |tags, tag| {
        tags.within(tag.id, tag.protocol == VlanProtocol::Dot1ad)
    })
}

/// Whether packets of clients that no sender makes any shorter fit the way.
fn width(service: &Service, backend: &Backend, hop: &net::Hop) -> Result<(), NoWay> {
    let family = Family::of(service.vip);
    let overhead = u32::from(forward(service, backend).overhead());
    let needed = LEAST[usize::from(family == Family::V6)] + overhead;
    if hop.mtu >= needed {
        return Ok(());
    }
    Err(barred(format!(
        "too narrow: the way to it takes {} bytes, and {family} clients' packets in mode {} need {needed}; raise the MTU of the link or of the route",
        hop.mtu, service.forward
    )))
}

/// What the outer headers say towards a backend.
fn tunnel(
    sources: &model::Tunnel,
    encapsulation: Encapsulation,
    backend: IpAddr,
    net: &NetState,
) -> Result<Tunnel, NoWay> {
    let family = Family::of(backend);
    let prefix: Option<(IpAddr, u8)> = match backend {
        IpAddr::V4(_) => sources.ipv4.map(|p| (p.network.into(), p.length)),
        IpAddr::V6(_) => sources.ipv6.map(|p| (p.network.into(), p.length)),
    };
    let (source, length) = match prefix {
        Some(prefix) => prefix,
        None => {
            let own = net.source_for(backend).ok_or_else(|| NoWay {
                reason: format!(
                    "this node has no {family} address to send from; give it one, or [tunnel] {} a prefix",
                    match family {
                        Family::V4 => "ipv4",
                        Family::V6 => "ipv6",
                    }
                ),
                is_barred: false,
            })?;
            (own, family.bits())
        }
    };
    Ok(Tunnel {
        source: plan::words(source).1,
        varying: host_mask(family, length),
        port: match encapsulation {
            Encapsulation::Ipip => 0,
            Encapsulation::Gue { port } => port.to_be(),
        },
        ..Tunnel::NONE
    })
}

/// Ones where addresses of a prefix differ, as an address lies in a packet.
pub(super) fn host_mask(family: Family, length: u8) -> abi::Address {
    let address = match family {
        Family::V4 => {
            let mask = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            IpAddr::V4(mask.into())
        }
        Family::V6 => {
            let mask = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            IpAddr::V6(mask.into())
        }
    };
    plan::words(address).1
}
