//! One write to the maps, and how it is told.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use lb_common::abi::{
    Address, Backend, BackendState, Endpoint, Forward, Hop, Kind, Route, Route6, Tunnel, family_of,
    kind_of, protocol_of,
};
use lb_common::wheel::Slot;

use super::address;

/// One write to the data plane's maps.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A backend number is given for the first time, or again: its counters and its load begin
    /// at 0.
    ResetCounters(u16),
    /// By what weight a backend's load is measured.
    Weight(u16, u16),
    /// What the outer headers of a backend's packets say.
    Tunnel(u16, Tunnel),
    /// A backend's record.
    Backend(u16, Backend),
    /// A new service's scheduler begins, in a wheel of that length.
    ResetCursor(u32, u32),
    /// A wheel's entries, from a chunk on.
    Wheel(u32, Vec<Slot>),
    /// An endpoint, new or in place of the one with the same key.
    Endpoint(Endpoint),
    /// No endpoint has this address and selector any more.
    RemoveEndpoint(Address, u32),
    /// The routes of `nat`'s return path to IPv4 clients.
    Routes(Vec<Route>),
    /// Those to IPv6 clients.
    Routes6(Vec<Route6>),
    /// How an on-link client is reached, or that it no longer is.
    Neighbour(IpAddr, Option<Hop>),
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Write::ResetCounters(number) => write!(f, "counters of backend {number} to 0"),
            Write::Weight(number, weight) => write!(f, "weight of backend {number} {weight}"),
            Write::Tunnel(number, _) => write!(f, "tunnel to backend {number}"),
            Write::Backend(number, record) => write!(f, "backend {number} {}", told(record)),
            Write::ResetCursor(service, _) => write!(f, "cursors of service {service} spread out"),
            Write::Wheel(chunk, entries) => {
                write!(f, "wheel of {} entries at chunk {chunk}", entries.len())
            }
            Write::Endpoint(e) => write!(f, "endpoint {}", key(e.address, e.selector)),
            Write::RemoveEndpoint(at, selector) => {
                write!(f, "no endpoint {}", key(*at, *selector))
            }
            Write::Routes(routes) => write!(f, "{} routes for IPv4", routes.len()),
            Write::Routes6(routes) => write!(f, "{} routes for IPv6", routes.len()),
            Write::Neighbour(at, Some(_)) => write!(f, "neighbour {at}"),
            Write::Neighbour(at, None) => write!(f, "no neighbour {at}"),
        }
    }
}

fn told(record: &Backend) -> String {
    let (_, server) = super::model::addresses(record, None);
    let port = u16::from_be(record.port);
    let state = BackendState::from_byte(record.state);
    match Forward::from_byte(record.forward) {
        Some(forward) => format!("{} {forward:?} {state:?}", SocketAddr::new(server, port)),
        None => format!("{state:?}"),
    }
}

fn key(at: Address, selector: u32) -> String {
    let kind = match kind_of(selector) {
        kind if kind == Kind::Service as u32 => "service",
        kind if kind == Kind::Vip as u32 => "VIP",
        kind if kind == Kind::Server as u32 => "server",
        _ => "of no kind",
    };
    let ip = address::ip(family_of(selector), at);
    let port = u16::from_be(selector as u16);
    let protocol = protocol_of(selector);
    format!("{kind} {} protocol {protocol}", SocketAddr::new(ip, port))
}
