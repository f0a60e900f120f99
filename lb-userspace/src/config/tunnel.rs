//! `[tunnel]`: where tunnelled packets come from.

use super::{
    error::Report,
    model::Tunnel,
    refusal::Refusal,
    rules::{self, Source},
    table::{Keys, Value, each},
};

/// The outer sources, none where the file says nothing; `None` after errors were
/// noted.
pub(super) fn read(report: &mut Report<'_>, root: &Keys<'_>) -> Option<Tunnel> {
    let mut tunnel = Tunnel::default();
    let Some(table) = root.maybe(report, "tunnel", Value::table)? else {
        return Some(tunnel);
    };
    let place = root.span("tunnel");
    let keys = Keys::new(report, table, place, "[tunnel]", &["source"]);
    let items = keys.need(report, "source", "[\"172.16.0.0/16\"]", Value::array)?;
    each(report, "source", items, |value, _| {
        match rules::source(value.text()?)? {
            Source::V4(prefix) => once(&mut tunnel.ipv4, prefix, "IPv4"),
            Source::V6(prefix) => once(&mut tunnel.ipv6, prefix, "IPv6"),
        }
    })?;
    Some(tunnel)
}

fn once<T>(known: &mut Option<T>, prefix: T, family: &str) -> Result<(), Refusal> {
    match known.replace(prefix) {
        None => Ok(()),
        Some(_) => Err(Refusal::new(
            format!("this is a second {family} prefix, and there can be one a family"),
            "leave one of the two out, or write a wider one",
        )),
    }
}
