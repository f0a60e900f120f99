//! `[timeouts]`.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    error::Report,
    model::Timeouts,
    refusal::Refusal,
    rules,
    table::{Keys, Value},
};

const KEYS: [&str; 4] = ["syn", "established", "closing", "udp"];
const BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

/// The timeouts, where the file says nothing those of [`Timeouts::default`];
/// `None` after errors were noted.
pub(super) fn read(report: &mut Report<'_>, root: &Keys<'_>) -> Option<Timeouts> {
    let default = Timeouts::default();
    let Some(table) = root.maybe(report, "timeouts", Value::table)? else {
        return Some(default);
    };
    let place = root.span("timeouts");
    let keys = Keys::new(report, table, place, "[timeouts]", &KEYS);
    let mut one = |key, default| {
        keys.or(report, key, default, |value| {
            rules::duration("timeout", value.duration()?, BOUNDS)
        })
    };
    let syn = one("syn", default.syn);
    let established = one("established", default.established);
    let closing = one("closing", default.closing);
    let udp = one("udp", default.udp);
    let timeouts = Timeouts {
        syn: syn?,
        established: established?,
        closing: closing?,
        udp: udp?,
    };
    countable(report, &keys, timeouts).then_some(timeouts)
}

/// Whether one clock counts them all: its ticks are as long as the longest timeout
/// needs, so a much shorter one would be far less than a tick.
fn countable(report: &mut Report<'_>, keys: &Keys<'_>, timeouts: Timeouts) -> bool {
    let tick = timeouts.coarsest_tick();
    let (longest, length) = timeouts.longest();
    let show = humantime::format_duration;
    let mut all = true;
    for (key, timeout) in timeouts.all() {
        if timeout >= tick {
            continue;
        }
        all = false;
        let least = Duration::from_secs(tick.as_secs_f64().ceil() as u64);
        let refusal = Refusal::new(
            format!(
                "the timeout `{key}` of {} is too short beside `{longest}` of {}: one clock of \
                 8 bits counts both, in steps of up to {}",
                show(timeout),
                show(length),
                show(least)
            ),
            format!("lengthen it to \"{}\", or shorten `{longest}`", show(least)),
        );
        report.add(keys.span(key), refusal);
    }
    all
}
