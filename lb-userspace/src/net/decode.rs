//! From netlink messages to the few facts that matter here.

use std::net::IpAddr;

use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
        RouteNextHop, RouteNextHopFlags, RoutePreference, RouteType, RouteVia,
    },
};

use super::{
    Mac,
    addresses::Address,
    prefix::{Family, Prefix},
    routes::{Entry, Preference, Route, Way},
    state::Neighbour,
};

/// An address of 6 bytes; other link layers have other lengths.
pub(super) fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok()
}

fn family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

/// An address of a link. `None` for other families.
pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let header = &message.header;
    let family = family(header.family)?;
    // On a point-to-point link `Address` is the peer's and `Local` ours.
    let mut ours = None;
    let mut peers = None;
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => ours = Some(*ip),
            AddressAttribute::Address(ip) => peers = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let ip = ours.or(peers)?;
    (Family::of(ip) == family).then(|| Address {
        ifindex: header.index,
        ip,
        subnet: Prefix::of(peers.unwrap_or(ip), header.prefix_len),
        scope: header.scope,
        flags,
    })
}

/// A neighbour's key, (ifindex, address), and what is known of it. `None` for
/// bridge forwarding entries, proxies and other families.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<((u32, IpAddr), Neighbour)> {
    let header = &message.header;
    family(header.family)?;
    if header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut ip = None;
    let mut link_layer = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some((*v4).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some((*v6).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => link_layer = mac(bytes),
            _ => {}
        }
    }
    let neighbour = Neighbour {
        mac: link_layer,
        state: header.state,
    };
    Some(((header.ifindex, ip?), neighbour))
}

/// As [`route`], without those whose time is over: the kernel no longer takes them, but
/// removes them later only.
pub(super) fn live_route(message: &RouteMessage) -> Option<Entry> {
    let expired = message.attributes.iter().any(|attribute| {
        // What is left of its time, signed; 0 for ever.
        matches!(attribute, RouteAttribute::CacheInfo(info) if info.expires.cast_signed() < 0)
    });
    if expired { None } else { route(message) }
}

/// A unicast or refusing route of the main table that holds for every source and type
/// of service.
pub(super) fn route(message: &RouteMessage) -> Option<Entry> {
    let header = &message.header;
    let family = family(header.address_family)?;
    let mut table = u32::from(header.table);
    let mut network = family.unspecified();
    let mut metric = 0;
    let mut preference = Preference::Medium;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => network = ip(address)?,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Preference(RoutePreference::High) => preference = Preference::High,
            RouteAttribute::Preference(RoutePreference::Low) => preference = Preference::Low,
            _ => {}
        }
    }
    let ours = table == u32::from(RouteHeader::RT_TABLE_MAIN)
        && header.tos == 0
        && header.source_prefix_length == 0
        && !header.flags.contains(RouteFlags::Cloned);
    let way = match header.kind {
        RouteType::Unicast => unicast(&message.attributes),
        RouteType::BlackHole => Err("is a blackhole"),
        RouteType::Unreachable => Err("says unreachable"),
        RouteType::Prohibit => Err("says prohibited"),
        RouteType::Throw => Err("says throw"),
        _ => return None,
    };
    ours.then_some(Entry {
        prefix: Prefix::of(network, header.destination_prefix_length),
        metric,
        preference,
        way,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// The next hop of a unicast route.
fn unicast(attributes: &[RouteAttribute]) -> Way {
    let mut ifindex = None;
    let mut gateway = None;
    let mut source = None;
    let mut mtu = None;
    let mut several = None;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(number) => ifindex = Some(*number),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => gateway = Some((*v6).into()),
            RouteAttribute::Via(_) => return Err("has a gateway that is no IP address"),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::EncapType(_) => return Err("encapsulates"),
            RouteAttribute::Metrics(metrics) => mtu = allowed(metrics),
            RouteAttribute::MultiPath(hops) => several = Some(hops),
            _ => {}
        }
    }
    let hop = match several {
        Some(hops) => first_usable(hops)?,
        None => Route {
            ifindex: ifindex.ok_or("names no link")?,
            gateway,
            source: None,
            mtu: None,
        },
    };
    Ok(Route { source, mtu, ..hop })
}

/// The first usable next hop of several: one way to a backend is enough.
fn first_usable(hops: &[RouteNextHop]) -> Way {
    let dead = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    let mut alive = hops
        .iter()
        .filter(|hop| !hop.flags.intersects(dead))
        .map(|hop| {
            // A next hop names its link in its header.
            let mut attributes = hop.attributes.clone();
            attributes.push(RouteAttribute::Oif(hop.interface_index));
            unicast(&attributes)
        });
    let first = alive.next().ok_or("has no next hop that is alive")?;
    first.or_else(|why| alive.find_map(Result::ok).ok_or(why))
}

/// The largest packet that a route's metrics allow.
fn allowed(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(bytes) if *bytes > 0 => Some(*bytes),
        _ => None,
    })
}
