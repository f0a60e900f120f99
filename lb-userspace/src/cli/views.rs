//! Answers of the API as text for people.

use std::{
    fmt::Write,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use super::table::{Table, age, count};
use crate::{
    api::types::{
        AdminView, BackendView, Counters, DataState, Family, HealthState, LinkState, LinkView,
        PoolView, ReloadReply, ServiceView, Stats, Status, XdpMode,
    },
    config::model::Ports,
};

/// `flowgate status`.
pub(super) fn status(status: &Status) -> String {
    let mut text = format!(
        "flowgate {}, process {}, up {}\n\n",
        status.version,
        status.pid,
        age(since(status.started))
    );
    let mut interfaces = Table::new(&["INTERFACE", "LINK", "MTU", "XDP", "NOTE"], &[2]);
    for interface in &status.interfaces {
        let mode = match interface.mode {
            Some(XdpMode::Native) => "native",
            Some(XdpMode::NativeMultiBuffer) => "native, multi-buffer",
            Some(XdpMode::Generic) => "generic (slower)",
            None => "not attached",
        };
        interfaces.row([
            interface.name.clone(),
            link(interface.state).to_owned(),
            interface
                .mtu
                .map_or_else(|| "-".to_owned(), |mtu| mtu.to_string()),
            mode.to_owned(),
            interface.trouble.clone().unwrap_or_default(),
        ]);
    }
    text.push_str(&interfaces.text());
    text.push('\n');
    if !status.full_nat.is_empty() {
        text.push_str(&pool(&status.full_nat));
        text.push('\n');
    }
    text.push_str(&super::flows::memory(&status.memory));
    text.push('\n');
    text.push_str(&services(&status.services));
    for service in &status.services {
        let in_use = |one: &BackendView| one.backup && one.state == DataState::Active;
        if service.backends.iter().any(in_use) {
            // Writing to a string can't fail.
            let _ = write!(
                text,
                "\n{}: its backups take the new connections, for no other backend does",
                service.name
            );
        }
        for backend in &service.backends {
            if let Some(trouble) = trouble(backend) {
                let name = format!("{}/{}", service.name, backend.name);
                let _ = write!(text, "\n{name}: {}", trouble.replace(char::is_control, " "));
            }
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// `flowgate service list`.
pub(super) fn services(services: &[ServiceView]) -> String {
    if services.is_empty() {
        return "There are no services.\n".to_owned();
    }
    let headings = [
        "SERVICE",
        "FRONTEND",
        "SCHEDULER",
        "FORWARD",
        "ACTIVE",
        "CONNS",
        "PACKETS",
        "BYTES",
    ];
    let mut table = Table::new(&headings, &[4, 5, 6, 7]);
    for service in services {
        let [connections, packets, bytes] = counters(service.counters);
        table.row([
            service.name.clone(),
            format!("{}/{}", at(service.vip, service.port), service.protocol),
            scheduler(service),
            service.forward.to_string(),
            active(&service.backends),
            connections,
            packets,
            bytes,
        ]);
    }
    table.text()
}

/// `flowgate backend list`.
pub(super) fn backends(services: &[ServiceView]) -> String {
    if services.iter().all(|service| service.backends.is_empty()) {
        return "There are no backends.\n".to_owned();
    }
    let headings = [
        "SERVICE", "BACKEND", "ADDRESS", "WEIGHT", "STATE", "CONNS", "PACKETS", "BYTES", "HEALTH",
        "SINCE", "NEXT HOP", "NOTE",
    ];
    let mut table = Table::new(&headings, &[3, 5, 6, 7]);
    for service in services {
        for backend in &service.backends {
            let [connections, packets, bytes] = counters(backend.counters);
            let changed = backend.health.since.map(|at| age(since(at)));
            table.row([
                service.name.clone(),
                backend.name.clone(),
                // 0 is the packet's own port, whichever it is.
                at(backend.address, backend.port.into()),
                backend.weight.to_string(),
                state(backend).to_owned(),
                connections,
                packets,
                bytes,
                health(backend.health.state).to_owned(),
                changed.unwrap_or_else(|| "-".to_owned()),
                match &backend.link {
                    LinkView::Resolved {
                        mac,
                        interface,
                        path_mtu,
                        ..
                    } => match path_mtu {
                        Some(mtu) => format!("{mac} {interface} mtu {mtu}"),
                        None => format!("{mac} {interface}"),
                    },
                    LinkView::Unresolved { .. } => "-".to_owned(),
                },
                trouble(backend).unwrap_or_default(),
            ]);
        }
    }
    table.text()
}

/// `flowgate stats`.
pub(super) fn stats(stats: &Stats) -> String {
    let mut verdicts = Table::new(&["VERDICT", "PACKETS"], &[1]);
    for (name, packets) in &stats.verdicts {
        verdicts.row([name.clone(), packets.to_string()]);
    }
    let mut table = Table::new(
        &["SERVICE", "BACKEND", "CONNS", "PACKETS", "BYTES"],
        &[2, 3, 4],
    );
    for service in &stats.services {
        let exact = |name: &str, of: Counters| {
            let [connections, packets, bytes] = [of.connections, of.packets, of.bytes];
            [
                service.name.clone(),
                name.to_owned(),
                connections.to_string(),
                packets.to_string(),
                bytes.to_string(),
            ]
        };
        table.row(exact("(all)", service.counters));
        for backend in &service.backends {
            table.row(exact(&backend.name, backend.counters));
        }
    }
    format!("{}\n{}", verdicts.text(), table.text())
}

/// `flowgate reload`.
pub(super) fn reloaded(reply: &ReloadReply) -> String {
    let warnings = reply.warnings.iter();
    let warnings: String = warnings
        .map(|warning| format!("warning: {warning}\n"))
        .collect();
    format!("{}\n{warnings}", reply.message)
}

/// Why a backend takes no new connections, or won't be reached.
fn trouble(backend: &BackendView) -> Option<String> {
    if let LinkView::Unresolved { reason } = &backend.link {
        return Some(format!("no next hop: {reason}"));
    }
    let reason = backend.health.reason.as_deref();
    match (backend.health.state, backend.admin, &backend.link) {
        (HealthState::Failed, ..) => Some(reason.unwrap_or("its check failed").to_owned()),
        (
            _,
            _,
            LinkView::Resolved {
                trouble: Some(trouble),
                ..
            },
        ) => Some(trouble.clone()),
        (_, AdminView::Draining, _) => Some("drained by an operator".to_owned()),
        _ => None,
    }
}

/// How connections are spread, and by how much of a client's address.
fn scheduler(service: &ServiceView) -> String {
    match service.source_prefix {
        Some(bits) => format!("{} /{bits}", service.scheduler),
        None => service.scheduler.to_string(),
    }
}

/// How many backends take new connections, and how many backups do or could.
fn active(backends: &[BackendView]) -> String {
    let count = |backup: bool, state: DataState| {
        let of = backends.iter().filter(|one| one.backup == backup);
        of.filter(|one| one.state == state).count()
    };
    let all = backends.iter().filter(|one| !one.backup).count();
    let mut text = format!("{}/{all}", count(false, DataState::Active));
    for (state, what) in [
        (DataState::Active, "backup"),
        (DataState::Standby, "standby"),
    ] {
        match count(true, state) {
            0 => {}
            backups => text += &format!(" +{backups} {what}"),
        }
    }
    text
}

/// The pool of `full-nat`.
fn pool(families: &[PoolView]) -> String {
    let mut table = Table::new(&["FULL-NAT POOL", "ADDRESSES", "PORTS USED"], &[1, 2]);
    for pool in families {
        let family = match pool.family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        table.row([
            family.to_owned(),
            pool.addresses.to_string(),
            format!("{}/{}", pool.used, pool.ports),
        ]);
    }
    table.text()
}

/// An address with its ports, in brackets where colons would run together.
fn at(address: IpAddr, ports: Ports) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{ports}"),
        IpAddr::V6(address) => format!("[{address}]:{ports}"),
    }
}

fn link(state: LinkState) -> &'static str {
    match state {
        LinkState::Up => "up",
        LinkState::NoCarrier => "no carrier",
        LinkState::Down => "down",
        LinkState::Gone => "gone",
    }
}

fn health(state: HealthState) -> &'static str {
    match state {
        HealthState::Unchecked => "unchecked",
        HealthState::Checking => "checking",
        HealthState::Healthy => "healthy",
        HealthState::Failed => "failed",
    }
}

fn state(backend: &BackendView) -> &'static str {
    match backend.state {
        DataState::Active if backend.backup => "active (backup)",
        DataState::Active => "active",
        DataState::Standby => "standby",
        DataState::Draining => "draining",
        DataState::Down => "down",
    }
}

fn counters(counters: Counters) -> [String; 3] {
    [counters.connections, counters.packets, counters.bytes].map(count)
}

/// Seconds from a moment (in seconds since 1970) until now.
pub(super) fn since(moment: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs().saturating_sub(moment)
}
