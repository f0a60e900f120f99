//! `[full_nat]`: the addresses and ports that `full-nat` services connect from.

use std::{net::IpAddr, ops::RangeInclusive};

use super::{
    error::Report,
    limits::MAX_POOL,
    model::Pool,
    refusal::Refusal,
    roster::Roster,
    rules,
    table::{Keys, Value, each},
};

/// Ports below are left to the node's own services.
const DEFAULT_PORTS: RangeInclusive<u16> = 1_024..=u16::MAX;
const FEWEST_PORTS: usize = 8;

/// The pool, entered in the roster: `Some(None)` when there is none, `None` after
/// errors were noted.
pub(super) fn read(
    report: &mut Report<'_>,
    roster: &mut Roster,
    root: &Keys<'_>,
) -> Option<Option<Pool>> {
    let Some(table) = root.maybe(report, "full_nat", Value::table)? else {
        return Some(None);
    };
    let place = root.span("full_nat");
    let known = ["addresses", "ports"];
    let keys = Keys::new(report, table, place, "[full_nat]", &known);
    let addresses = addresses(report, roster, &keys);
    let ports = keys.or(report, "ports", DEFAULT_PORTS, ports);
    Some(Some(Pool {
        addresses: addresses?,
        ports: ports?,
    }))
}

fn addresses(report: &mut Report<'_>, roster: &mut Roster, keys: &Keys<'_>) -> Option<Vec<IpAddr>> {
    let items = keys.need(report, "addresses", "[\"10.0.0.200\"]", |value| {
        let items = value.array()?;
        match items.len() {
            0 => Err(Refusal::new(
                "the pool has no address to connect from",
                "name an address that is routed to this node and is nobody else's: \
                 addresses = [\"10.0.0.200\"]",
            )),
            1..=MAX_POOL => Ok(items),
            many => Err(Refusal::new(
                format!("these are {many} addresses, and the pool can have {MAX_POOL}"),
                "leave some out: each has all its ports for every backend",
            )),
        }
    })?;
    each(report, "addresses", items, |value, line| {
        let address = rules::pool_address(rules::address(value.text()?)?)?;
        roster.pool_address(address)?;
        roster.record_pool(address, Some(line));
        Ok(address)
    })
}

fn ports(value: Value<'_>) -> Result<RangeInclusive<u16>, Refusal> {
    let ports = rules::port_range(value.text()?)?;
    let ports = ports.first()..=ports.last();
    if ports.len() < FEWEST_PORTS {
        return Err(Refusal::new(
            format!(
                "these are {} ports, and the pool needs {FEWEST_PORTS}",
                ports.len()
            ),
            "each connection to a backend takes one: write a wider range, or leave it out",
        ));
    }
    Ok(ports)
}
