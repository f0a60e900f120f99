//! From netlink messages to the few facts that matter here.

use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop,
        RouteNextHopFlags, RouteType,
    },
};

use super::{
    Mac,
    routes::{Entry, Prefix, Route, Way},
    state::{Address, Neighbour},
};

/// An address of 6 bytes; other link layers have other lengths.
pub(super) fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok()
}

/// An IPv4 address of a link.
pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    // On a point-to-point link `Address` is the peer's and `Local` ours.
    let mut ours = None;
    let mut peers = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(ip)) => ours = Some(*ip),
            AddressAttribute::Address(IpAddr::V4(ip)) => peers = Some(*ip),
            _ => {}
        }
    }
    Some(Address {
        ifindex: message.header.index,
        ip: ours.or(peers)?,
        subnet: Prefix::of(peers.or(ours)?, message.header.prefix_len),
    })
}

/// A neighbour's key, (ifindex, address), and what is known of it. `None` for
/// bridge forwarding entries, proxies and other families.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<((u32, Ipv4Addr), Neighbour)> {
    let header = &message.header;
    if header.family != AddressFamily::Inet || header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut ip = None;
    let mut link_layer = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(*v4),
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

/// A unicast or refusing route of the IPv4 main table that holds for every
/// type of service.
pub(super) fn route(message: &RouteMessage) -> Option<Entry> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let mut network = Ipv4Addr::UNSPECIFIED;
    let mut metric = 0;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => network = *ip,
            RouteAttribute::Priority(number) => metric = *number,
            _ => {}
        }
    }
    let ours = header.address_family == AddressFamily::Inet
        && table == u32::from(RouteHeader::RT_TABLE_MAIN)
        && header.tos == 0
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
        way,
    })
}

/// The next hop of a unicast route.
fn unicast(attributes: &[RouteAttribute]) -> Way {
    let mut ifindex = None;
    let mut gateway = None;
    let mut source = None;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(number) => ifindex = Some(*number),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(*ip),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => source = Some(*ip),
            RouteAttribute::Via(_) => return Err("has an IPv6 gateway"),
            RouteAttribute::EncapType(_) => return Err("encapsulates"),
            RouteAttribute::MultiPath(hops) => {
                let hop = alive(hops)?;
                return Ok(Route {
                    source: source.or(hop.source),
                    ..hop
                });
            }
            _ => {}
        }
    }
    Ok(Route {
        ifindex: ifindex.ok_or("names no link")?,
        gateway,
        source,
    })
}

/// The first usable next hop of several: one way to a backend is enough.
fn alive(hops: &[RouteNextHop]) -> Way {
    let dead = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    let hop = hops
        .iter()
        .find(|hop| !hop.flags.intersects(dead))
        .ok_or("has no next hop that is alive")?;
    // A next hop names its link in its header.
    let mut attributes = hop.attributes.clone();
    attributes.push(RouteAttribute::Oif(hop.interface_index));
    unicast(&attributes)
}
