//! The rules for single values: one place for the configuration, the API and
//! the command line.

mod address;
mod service;

use std::{ops::RangeInclusive, time::Duration};

pub use self::{
    address::{
        Source, address, backend_address, gateway_address, node_address, pool_address, source, vip,
    },
    service::{
        backend_fits, backend_port, check_port, pool_fits, source_prefix, told, weight_fits,
    },
};
use super::{
    limits::WEIGHTS,
    model::Ports,
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

/// A port that can be balanced or asked.
///
/// # Errors
/// When it is outside 1–65535.
pub fn port(number: i128) -> Result<u16, Refusal> {
    within("port", number, 1..=u16::MAX)
}

/// The ports of a service from a number: one port, or 0 for any.
///
/// # Errors
/// When it is outside 0–65535.
pub fn ports(number: i128) -> Result<Ports, Refusal> {
    u16::try_from(number).map(Ports::from).map_err(|_| {
        Refusal::new(
            format!("the port {number} is outside 0–65535"),
            "write a port from 1 to 65535, a range such as \"5000-5999\", or 0 for any port",
        )
    })
}

/// A range of ports as text, such as `5000-5999`.
///
/// # Errors
/// When it isn't one, both ends within 1–65535 and the lower one first.
pub fn port_range(text: &str) -> Result<Ports, Refusal> {
    text.parse().map_err(|_| {
        Refusal::new(
            format!("{} is not a range of ports", quoted(text)),
            "write two ports from 1 to 65535, the lower one first: \"5000-5999\"",
        )
    })
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
