//! From a TOML tree to a configuration: `[node]`, the other sections in turn, and the
//! list of services.

use std::collections::HashSet;

use toml::de::DeTable;

use super::{
    error::Report,
    full_nat,
    limits::{DEFAULT_FLOWS, FLOWS, MAX_GROUPS, MAX_INTERFACES},
    model::{Config, Node},
    refusal::{Refusal, quoted},
    replication,
    roster::Roster,
    rules,
    service::{Draft, Means},
    table::{Keys, Value, each},
    timeouts, tunnel, vrrp,
};

/// The configuration in a tree, or `None` after errors were noted.
pub(super) fn config(report: &mut Report<'_>, root: &DeTable<'_>) -> Option<Config> {
    let known = [
        "node",
        "timeouts",
        "tunnel",
        "full_nat",
        "vrrp",
        "replication",
        "service",
    ];
    let keys = Keys::new(report, root, 0..0, "the file", &known);
    let node = node(report, &keys);
    let timeouts = timeouts::read(report, &keys);
    let mut roster = Roster::default();
    let means = Means {
        tunnel: tunnel::read(report, &keys),
        pool: full_nat::read(report, &mut roster, &keys),
    };
    let replication = replication::read(report, &keys);
    let groups = groups(report, &mut roster, &keys);
    if let (Some(Some(_)), Some(groups)) = (&replication, &groups) {
        report.keep(&keys.span("replication"), one_group(groups.len()));
    }
    let tables = keys.or(report, "service", &[][..], |value| {
        value.tables("[[service]]")
    })?;

    // Every VIP must be known before the first backend is held against them.
    let mut drafts = Vec::new();
    for table in tables {
        report.keep(&table.span(), roster.service_room())?;
        drafts.push(Draft::read(report, &mut roster, &means, table));
    }

    let mut services = Vec::with_capacity(drafts.len());
    for draft in drafts {
        services.push(draft.and_then(|draft| draft.finish(report, &mut roster, &means)));
    }
    let services: Vec<_> = services.into_iter().collect::<Option<_>>()?;
    let pool = means.pool?;
    let pooled = pool.iter().flat_map(|pool| pool.addresses.iter().copied());
    let groups = vrrp::finish(report, groups?, &services, &pooled.collect::<Vec<_>>());
    Some(Config {
        node: node?,
        timeouts: timeouts?,
        tunnel: means.tunnel?,
        full_nat: pool,
        groups: groups?,
        replication: replication?,
        services,
    })
}

fn groups<'a>(
    report: &mut Report<'_>,
    roster: &mut Roster,
    root: &Keys<'a>,
) -> Option<Vec<vrrp::Draft<'a>>> {
    let tables = root.or(report, "vrrp", &[][..], |value| {
        let tables = value.tables("[[vrrp]]")?;
        match tables.len() > MAX_GROUPS {
            false => Ok(tables),
            true => Err(Refusal::new(
                format!(
                    "these are {} groups, and a node can have {MAX_GROUPS}",
                    tables.len()
                ),
                "put VIPs that may move together into one group",
            )),
        }
    })?;
    let mut drafts = Vec::new();
    for table in tables {
        drafts.push(vrrp::Draft::read(report, roster, table));
    }
    drafts.into_iter().collect()
}

/// Flows follow the one group: those of two could have to go both ways.
fn one_group(groups: usize) -> Result<(), Refusal> {
    match groups {
        1 => Ok(()),
        0 => Err(Refusal::new(
            "there is no group whose standby could follow",
            "add a section [[vrrp]], or leave [replication] out",
        )),
        _ => Err(Refusal::new(
            format!("replication follows one group, and there are {groups}"),
            "put all VIPs into one group, or leave [replication] out",
        )),
    }
}

fn node(report: &mut Report<'_>, root: &Keys<'_>) -> Option<Node> {
    if !root.has("node") {
        let refusal = Refusal::new(
            "the file needs a section [node]",
            "add a line [node] and below it a line such as interfaces = [\"eth0\"]",
        );
        report.add(root.place(), refusal);
    }
    let table = root.maybe(report, "node", Value::table)??;
    let known = ["interfaces", "max_flows"];
    let keys = Keys::new(report, table, root.span("node"), "[node]", &known);
    let interfaces = interfaces(report, &keys);
    let max_flows = keys.or(report, "max_flows", DEFAULT_FLOWS, |value| {
        rules::within("max_flows", value.integer()?, FLOWS)
    });
    Some(Node {
        interfaces: interfaces?,
        max_flows: max_flows?,
    })
}

fn interfaces(report: &mut Report<'_>, keys: &Keys<'_>) -> Option<Vec<String>> {
    let items = keys.need(report, "interfaces", "[\"eth0\"]", |value| {
        let items = value.array()?;
        if items.is_empty() {
            return Err(Refusal::new(
                "there is no interface to balance on",
                "name the interfaces where clients' packets arrive and behind which the \
                 backends are: interfaces = [\"eth0\"]",
            ));
        }
        if items.len() > MAX_INTERFACES {
            return Err(Refusal::new(
                format!(
                    "these are {} interfaces, and a node can have {MAX_INTERFACES}",
                    items.len()
                ),
                "name only those that clients' packets and backends are on",
            ));
        }
        Ok(items)
    })?;
    let mut names = HashSet::new();
    each(report, "interfaces", items, |value, _| {
        let name = rules::interface(value.text()?)?;
        match names.insert(name.clone()) {
            true => Ok(name),
            false => Err(Refusal::new(
                format!("the interface {} is named twice", quoted(&name)),
                "name it once",
            )),
        }
    })
}
