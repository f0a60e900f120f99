//! What fits together within a service.

use std::net::IpAddr;

use crate::config::{
    model::{Encapsulation, Forward, Pool, Ports, Protocol, Scheduler, Tunnel},
    refusal::Refusal,
};

/// Whether a scheduler heeds a weight.
///
/// # Errors
/// When the scheduler would ignore it.
pub fn weight_fits(scheduler: Scheduler, weight: u16) -> Result<(), Refusal> {
    if scheduler.heeds_weights() || weight == 1 {
        return Ok(());
    }
    Err(Refusal::new(
        format!("the scheduler {scheduler} ignores weights, and this one is {weight}"),
        "use `scheduler = \"weighted-round-robin\"` for the service, or leave the weight out",
    ))
}

/// How many bits of the addresses of a VIP's clients tell them apart.
///
/// # Errors
/// When the scheduler doesn't look at them, or an address has fewer.
pub fn source_prefix(scheduler: Scheduler, vip: IpAddr, bits: i128) -> Result<u8, Refusal> {
    if !scheduler.has_prefix() {
        return Err(Refusal::new(
            format!(
                "`source_prefix` belongs to the scheduler source, and the scheduler is {scheduler}"
            ),
            "use `scheduler = \"source\"`, or leave it out",
        ));
    }
    let (most, example) = match vip {
        IpAddr::V4(_) => (32, 24),
        IpAddr::V6(_) => (128, 56),
    };
    u8::try_from(bits)
        .ok()
        .filter(|bits| (1..=most).contains(bits))
        .ok_or_else(|| {
            Refusal::new(
                format!(
                    "the source prefix {bits} is outside 1–{most}, and clients of the VIP {vip} \
                     have {} addresses",
                    family(vip)
                ),
                format!(
                    "write how many bits tell clients apart, such as source_prefix = {example}, \
                     or leave it out for whole addresses"
                ),
            )
        })
}

/// The port of a backend: its own where the forwarding mode can change ports,
/// else the service's, which is 0 for a range or any port.
///
/// # Errors
/// When there is an `own` port that packets would not be sent to.
pub fn backend_port(forward: Forward, service: Ports, own: Option<u16>) -> Result<u16, Refusal> {
    let Some(own) = own else {
        return Ok(service.exact().unwrap_or(0));
    };
    let Some(port) = service.exact() else {
        return Err(Refusal::new(
            format!(
                "the service balances {}, and a backend is reached on the packet's own, not on {own}",
                told(service)
            ),
            "leave `port` out, or give the service one port",
        ));
    };
    let untouched = match forward {
        Forward::Nat | Forward::FullNat => return Ok(own),
        _ if own == port => return Ok(own),
        Forward::Dsr => "only the destination MAC is rewritten",
        Forward::Tunnel(_) => "the packet is only wrapped",
    };
    Err(Refusal::new(
        format!(
            "in mode {} a backend is reached on the service's port {port}, not {own}: {untouched}",
            forward.name()
        ),
        "leave `port` out, or use `forward = \"nat\"`",
    ))
}

/// Ports as a sentence names them.
pub fn told(ports: Ports) -> String {
    match ports {
        Ports::Exact(port) => format!("port {port}"),
        Ports::Range { .. } => format!("ports {ports}"),
        Ports::Any => "any port".to_owned(),
    }
}

/// Whether the forwarding mode of a VIP's service leads to a backend's address.
///
/// # Errors
/// When the families differ and the mode can't bridge that, or the outer source
/// of a tunnel could not vary.
pub fn backend_fits(
    forward: Forward,
    vip: IpAddr,
    tunnel: &Tunnel,
    address: IpAddr,
) -> Result<(), Refusal> {
    match forward {
        Forward::Dsr | Forward::Nat | Forward::FullNat if vip.is_ipv4() != address.is_ipv4() => {
            Err(Refusal::new(
                format!(
                    "{address} is {}, and the VIP {vip} is {}: mode {} can't lead from one to \
                     the other",
                    family(address),
                    family(vip),
                    forward.name()
                ),
                format!(
                    "write an {} address, or use `forward = \"tunnel\"`",
                    family(vip)
                ),
            ))
        }
        Forward::Tunnel(Encapsulation::Ipip) if !tunnel.covers(address) => {
            let (prefix, single) = match address {
                IpAddr::V4(_) => ("172.16.0.0/16", "/32"),
                IpAddr::V6(_) => ("2001:db8:0:ff::/64", "/128"),
            };
            Err(Refusal::new(
                format!(
                    "there are no {} addresses to tunnel from: an ipip tunnel's source must vary \
                     by flow, so that the queues of the receiver {address} share the load",
                    family(address)
                ),
                format!(
                    "add to [tunnel] source a prefix that is routed to nobody else, such as \
                     source = [\"{prefix}\"] (a single address is a {single}), or use \
                     `encapsulation = \"gue\"`"
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Whether there is an address that a `full-nat` service of this VIP can connect
/// from; other modes need none.
///
/// # Errors
/// When there is none of the VIP's family.
pub fn pool_fits(forward: Forward, vip: IpAddr, pool: Option<&Pool>) -> Result<(), Refusal> {
    let suits = |pool: &Pool| {
        let mut addresses = pool.addresses.iter();
        addresses.any(|address| address.is_ipv4() == vip.is_ipv4())
    };
    if forward != Forward::FullNat || pool.is_some_and(suits) {
        return Ok(());
    }
    let example = match vip {
        IpAddr::V4(_) => "10.0.0.200",
        IpAddr::V6(_) => "2001:db8::200",
    };
    let help = match pool {
        Some(_) => format!("add one to [full_nat] addresses, such as \"{example}\""),
        None => format!(
            "add a section [full_nat] with an address that is routed to this node and is nobody \
             else's: addresses = [\"{example}\"]"
        ),
    };
    Err(Refusal::new(
        format!(
            "there is no {} address to connect from: full-nat replaces the client's address by \
             one of the pool",
            family(vip)
        ),
        help,
    ))
}

/// Whether a health check knows which port to ask: `tcp` and `http` checks speak
/// TCP, which a UDP service's port usually doesn't answer, and a range or any port
/// is not one that can be asked.
///
/// # Errors
/// When the check needs a port of its own and names none.
pub fn check_port(protocol: Protocol, ports: Ports, port: Option<u16>) -> Result<(), Refusal> {
    let help = "add `port = …` with a TCP port that tells whether the backend is well, \
                or leave `health` out";
    if port.is_some() {
        return Ok(());
    }
    if protocol != Protocol::Tcp {
        return Err(Refusal::new(
            "the service is UDP, but this check speaks TCP and names no port of its own",
            help,
        ));
    }
    if ports.exact().is_none() {
        return Err(Refusal::new(
            format!(
                "the service balances {}, but this check asks one port and names none of its own",
                told(ports)
            ),
            help,
        ));
    }
    Ok(())
}

fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}
