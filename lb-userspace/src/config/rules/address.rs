//! Addresses: what can be a VIP, a backend's, the pool's, or a tunnel's source.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::within;
use crate::config::{
    model::{Address as _, Prefix},
    refusal::{Refusal, quoted},
};

/// An IP address as text.
///
/// # Errors
/// When it isn't one; tells the usual slips (a port, a prefix length, brackets,
/// a host name) apart.
pub fn address(text: &str) -> Result<IpAddr, Refusal> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let host = bare(text);
    let help = if host.is_some() && text.contains('/') {
        format!("leave out the prefix length: \"{}\"", host.unwrap_or(""))
    } else if let Some(host) = host {
        match text.contains("]:") || !text.contains(']') {
            true => format!("give the port on its own: \"{host}\" here, and `port`"),
            false => format!("leave out the brackets: \"{host}\""),
        }
    } else if text.contains(':') && text.contains('%') {
        "leave out the interface, and use an address that is not link-local".to_owned()
    } else if text.matches(':').count() > 1 {
        "write groups of up to four hexadecimal digits, such as \"2001:db8::11\"".to_owned()
    } else if text.contains(|c: char| c.is_ascii_alphabetic()) {
        "host names aren't looked up: write the address, such as \"10.0.0.11\"".to_owned()
    } else {
        "write four numbers of 0–255, such as \"10.0.0.11\"".to_owned()
    };
    Err(Refusal::new(
        format!("{} is not an IP address", quoted(text)),
        help,
    ))
}

/// The address in a text that says more: `10.0.0.1/8`, `10.0.0.1:80`,
/// `2001:db8::1/64`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn bare(text: &str) -> Option<&str> {
    let text = text.split('/').next().unwrap_or_default();
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.split(']').next());
    let host = match bracketed {
        Some(host) => host,
        None if text.parse::<Ipv6Addr>().is_ok() => text,
        None => text.split(':').next().unwrap_or_default(),
    };
    host.parse::<IpAddr>().is_ok().then_some(host)
}

/// An address that can be a VIP.
///
/// # Errors
/// When it is not the address of one host that others reach through routers.
pub fn vip(address: IpAddr) -> Result<IpAddr, Refusal> {
    unicast(address, "a VIP")
}

/// An address that can be a backend's.
///
/// # Errors
/// As for [`vip`].
pub fn backend_address(address: IpAddr) -> Result<IpAddr, Refusal> {
    unicast(address, "a backend address")
}

/// An address that the pool of `full-nat` can have.
///
/// # Errors
/// As for [`vip`].
pub fn pool_address(address: IpAddr) -> Result<IpAddr, Refusal> {
    unicast(address, "an address of the pool")
}

/// An address that moves with a group and is no VIP.
///
/// # Errors
/// As for [`vip`].
pub fn gateway_address(address: IpAddr) -> Result<IpAddr, Refusal> {
    unicast(address, "a gateway")
}

/// A node's own address, which may be a link-local one.
///
/// # Errors
/// As for [`vip`], but that it may be link-local.
pub fn node_address(address: IpAddr) -> Result<IpAddr, Refusal> {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Ok(address),
        _ => unicast(address, "a node's address"),
    }
}

fn unicast(address: IpAddr, what: &str) -> Result<IpAddr, Refusal> {
    let kind = match address {
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            "a link-local address, which means something else on each link,"
        }
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => return Err(mapped(v6)),
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_loopback() => "a loopback address, which no other machine can reach,",
        _ if address.is_multicast() => "a multicast address",
        _ => return Ok(address),
    };
    let example = match address {
        IpAddr::V4(_) => "203.0.113.10",
        IpAddr::V6(_) => "2001:db8::10",
    };
    Err(Refusal::new(
        format!("{address} is {kind} and can't be {what}"),
        format!("use the address of one host, such as {example}"),
    ))
}

fn mapped(address: Ipv6Addr) -> Refusal {
    let v4 = address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
    Refusal::new(
        format!("{address} is an IPv4 address in the form of IPv6, which no packet carries"),
        format!("write \"{v4}\""),
    )
}

/// A prefix that outer sources of tunnels are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Of IPv4 addresses.
    V4(Prefix<Ipv4Addr>),
    /// Of IPv6 addresses.
    V6(Prefix<Ipv6Addr>),
}

/// A prefix as text that outer sources of tunnels can be taken from.
///
/// # Errors
/// When it isn't one, has bits after its length, is too wide to be anybody's, or
/// isn't of hosts' addresses.
pub fn source(text: &str) -> Result<Source, Refusal> {
    let malformed = |help: String| {
        let message = format!("{} is not a prefix of addresses", quoted(text));
        Err(Refusal::new(message, help))
    };
    let Some((network, length)) = text.split_once('/') else {
        return malformed(match text.parse() {
            Ok(IpAddr::V4(_)) => format!("a single address is a /32: \"{text}/32\""),
            Ok(IpAddr::V6(_)) => format!("a single address is a /128: \"{text}/128\""),
            Err(_) => "write a network and a length, such as \"172.16.0.0/16\"".to_owned(),
        });
    };
    let network = address(network)?;
    let Ok(length) = length.parse::<u8>() else {
        return malformed(format!(
            "write the length as a number, such as {network}/24"
        ));
    };
    // Within these bounds a prefix is wholly of one kind of addresses.
    let (bounds, bits) = match network {
        IpAddr::V4(_) => (8..=Ipv4Addr::BITS as u8, Ipv4Addr::BITS),
        IpAddr::V6(_) => (32..=Ipv6Addr::BITS as u8, Ipv6Addr::BITS),
    };
    let length = within("prefix length", length.into(), bounds)?;
    let network = unicast(network, "the source of a tunnel")?;
    let host = bits - u32::from(length);
    let cut = |number: u128| (number.checked_shr(host).unwrap_or(0)) << (host % 128);
    let (source, first): (_, IpAddr) = match network {
        IpAddr::V4(network) => {
            let first = Ipv4Addr::from_bits(cut(network.number()) as u32);
            (Source::V4(Prefix { network, length }), first.into())
        }
        IpAddr::V6(network) => {
            let first = Ipv6Addr::from_bits(cut(network.number()));
            (Source::V6(Prefix { network, length }), first.into())
        }
    };
    if first != network {
        return Err(Refusal::new(
            format!("{network}/{length} has bits set after its first {length}"),
            format!("write \"{first}/{length}\", or \"{network}/{bits}\" for the one address"),
        ));
    }
    Ok(source)
}
