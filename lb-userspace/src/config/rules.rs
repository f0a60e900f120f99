//! The rules for single values: one place for the configuration, the API and
//! the command line.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
    time::Duration,
};

use super::{
    limits::WEIGHTS,
    model::{Forward, Ports, Protocol, Scheduler},
    refusal::{Refusal, listed, nearest, quoted},
};

/// An interface name that the kernel could have.
///
/// # Errors
/// When it is empty, longer than 15 bytes, or holds a character that no
/// interface name may hold.
pub fn interface(text: &str) -> Result<String, Refusal> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text == "." || text == ".." || text.contains(bad) {
        return Err(Refusal::new(
            format!("{} is not an interface name", quoted(text)),
            "`ip -brief link` lists the interfaces of this machine",
        ));
    }
    if text.len() > 15 {
        return Err(Refusal::new(
            format!(
                "the interface name {} is longer than 15 bytes, the most that Linux allows",
                quoted(text)
            ),
            "`ip -brief link` lists the interfaces of this machine",
        ));
    }
    Ok(text.to_owned())
}

/// A name of a service or backend: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`.
///
/// # Errors
/// When it has another form.
pub fn name(text: &str) -> Result<String, Refusal> {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if first && text.len() <= 63 && text.chars().all(rest) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(
        format!("{} can't be a name", quoted(text)),
        "use 1 to 63 letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
    ))
}

/// An IP address as text.
///
/// # Errors
/// When it isn't one; tells the usual slips (a port, a prefix length, a host
/// name) apart.
pub fn address(text: &str) -> Result<IpAddr, Refusal> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let host = text.split(['/', ':']).next().unwrap_or_default();
    let is_address = host.parse::<Ipv4Addr>().is_ok();
    let help = if is_address && text.contains('/') {
        format!("leave out the prefix length: \"{host}\"")
    } else if is_address {
        format!("give the port on its own: \"{host}\" here, and `port`")
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

/// An address that can be a VIP.
///
/// # Errors
/// When it is IPv6, or not the address of one host on a network.
pub fn vip(address: IpAddr) -> Result<IpAddr, Refusal> {
    unicast(address, "VIP")
}

/// An address that can be a backend's.
///
/// # Errors
/// When it is IPv6, or not the address of one host on a network.
pub fn backend_address(address: IpAddr) -> Result<IpAddr, Refusal> {
    unicast(address, "backend address")
}

fn unicast(address: IpAddr, what: &str) -> Result<IpAddr, Refusal> {
    let IpAddr::V4(v4) = address else {
        return Err(Refusal::new(
            format!("{address}: IPv6 is not supported yet"),
            format!("use an IPv4 {what}"),
        ));
    };
    let kind = match v4 {
        _ if v4.is_unspecified() => "the unspecified address",
        _ if v4.is_broadcast() => "the broadcast address",
        _ if v4.is_loopback() => "a loopback address, which no other machine can reach,",
        _ if v4.is_multicast() => "a multicast address",
        _ => return Ok(address),
    };
    Err(Refusal::new(
        format!("{address} is {kind} and can't be a {what}"),
        "use the address of one host, such as 203.0.113.10",
    ))
}

/// A port that can be balanced or asked.
///
/// # Errors
/// When it is outside 1–65535.
pub fn port(number: i128) -> Result<u16, Refusal> {
    within("port", number, 1..=u16::MAX)
}

/// A backend's weight.
///
/// # Errors
/// When it is outside 1–256; 0 is told how to stop new connections.
pub fn weight(number: i128) -> Result<u16, Refusal> {
    if number == 0 {
        return Err(Refusal::new(
            "the weight 0 is outside 1–256",
            "to stop new connections to it, use `state = \"drain\"` or `flowgate backend drain`",
        ));
    }
    within("weight", number, WEIGHTS)
}

/// A number within bounds; `what` names it in the refusal.
///
/// # Errors
/// When it is outside.
pub fn within<T>(what: &str, number: i128, bounds: RangeInclusive<T>) -> Result<T, Refusal>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    let (low, high) = (bounds.start(), bounds.end());
    T::try_from(number)
        .ok()
        .filter(|value| bounds.contains(value))
        .ok_or_else(|| {
            Refusal::new(
                format!("the {what} {number} is outside {low}–{high}"),
                format!("write a number from {low} to {high}"),
            )
        })
}

/// One of several words; `what` names the choice in the refusal.
///
/// # Errors
/// When it is none of them.
pub fn choice<T: Copy>(what: &str, text: &str, all: &[(&'static str, T)]) -> Result<T, Refusal> {
    if let Some((_, value)) = all.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names = || all.iter().map(|(name, _)| *name);
    let help = match nearest(text, names()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("there are: {}", listed(names())),
    };
    Err(Refusal::new(
        format!("there is no {what} {}", quoted(text)),
        help,
    ))
}

/// A duration as text, such as `500ms`; `what` names it in the refusal.
///
/// # Errors
/// When it isn't one or is outside `bounds`.
pub fn duration(
    what: &str,
    text: &str,
    bounds: RangeInclusive<Duration>,
) -> Result<Duration, Refusal> {
    let Ok(value) = humantime::parse_duration(text) else {
        return Err(Refusal::new(
            format!("{} is not a duration", quoted(text)),
            "write a number and a unit: \"500ms\", \"2s\", \"1m\"",
        ));
    };
    if bounds.contains(&value) {
        return Ok(value);
    }
    let show = humantime::format_duration;
    let (low, high) = (show(*bounds.start()), show(*bounds.end()));
    Err(Refusal::new(
        format!("the {what} {} is outside {low}–{high}", show(value)),
        format!("write a duration from \"{low}\" to \"{high}\""),
    ))
}

/// Whether a scheduler heeds a weight.
///
/// # Errors
/// When the scheduler would ignore it.
pub fn weight_fits(scheduler: Scheduler, weight: u16) -> Result<(), Refusal> {
    if scheduler == Scheduler::WeightedRoundRobin || weight == 1 {
        return Ok(());
    }
    Err(Refusal::new(
        format!("the scheduler round-robin ignores weights, and this one is {weight}"),
        "use `scheduler = \"weighted-round-robin\"` for the service, or leave the weight out",
    ))
}

/// The port of a backend: its own where the forwarding mode can change ports,
/// else the service's.
///
/// # Errors
/// When `own` differs from the service's and the mode can't change it.
pub fn backend_port(forward: Forward, service: Ports, own: Option<u16>) -> Result<u16, Refusal> {
    let service = service.exact().unwrap_or(0);
    match own {
        Some(own) if own != service && forward == Forward::Dsr => Err(Refusal::new(
            format!(
                "in mode dsr a backend is reached on the service's port {service}, not {own}: \
                 only the destination MAC is rewritten"
            ),
            "leave `port` out, or use `forward = \"nat\"`",
        )),
        own => Ok(own.unwrap_or(service)),
    }
}

/// Whether a health check knows which port to ask: `tcp` and `http` checks speak
/// TCP, which a UDP service's port usually doesn't answer.
///
/// # Errors
/// When the service is UDP and the check names no port of its own.
pub fn check_port(protocol: Protocol, port: Option<u16>) -> Result<(), Refusal> {
    if protocol == Protocol::Tcp || port.is_some() {
        return Ok(());
    }
    Err(Refusal::new(
        "the service is UDP, but this check speaks TCP and names no port of its own",
        "add `port = …` with a TCP port that tells whether the backend is well, \
         or leave `health` out",
    ))
}
