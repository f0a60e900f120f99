//! `forward`, `encapsulation` and `gue_port` of a service.

use super::{
    error::Report,
    model::{Encapsulation, Forward},
    refusal::Refusal,
    rules,
    table::Keys,
};

/// The port that IANA gave to GUE.
const DEFAULT_GUE_PORT: u16 = 6_080;

/// What `forward` says by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Tunnel,
    Other(Forward),
}

/// How the service whose keys these are forwards; `None` after errors were noted.
pub(super) fn read(report: &mut Report<'_>, keys: &Keys<'_>) -> Option<Forward> {
    let all = [
        ("dsr", Mode::Other(Forward::Dsr)),
        ("nat", Mode::Other(Forward::Nat)),
        ("tunnel", Mode::Tunnel),
        ("full-nat", Mode::Other(Forward::FullNat)),
    ];
    let mode = keys.need(report, "forward", "\"dsr\"", |value| {
        rules::choice("forwarding mode", value.text()?, &all)
    })?;
    let forward = match mode {
        Mode::Tunnel => return encapsulation(report, keys).map(Forward::Tunnel),
        Mode::Other(forward) => forward,
    };
    for key in ["encapsulation", "gue_port"] {
        if keys.has(key) {
            let refusal = Refusal::new(
                format!("`{key}` belongs to mode tunnel, and the mode is {forward}"),
                "use `forward = \"tunnel\"`, or leave it out",
            );
            report.add(keys.span(key), refusal);
        }
    }
    Some(forward)
}

fn encapsulation(report: &mut Report<'_>, keys: &Keys<'_>) -> Option<Encapsulation> {
    let gue = Encapsulation::Gue {
        port: DEFAULT_GUE_PORT,
    };
    let all = [("ipip", Encapsulation::Ipip), ("gue", gue)];
    let encapsulation = keys.or(report, "encapsulation", Encapsulation::Ipip, |value| {
        rules::choice("encapsulation", value.text()?, &all)
    })?;
    let port = keys.or(report, "gue_port", DEFAULT_GUE_PORT, |value| {
        rules::port(value.integer()?)
    })?;
    match encapsulation {
        Encapsulation::Gue { .. } => Some(Encapsulation::Gue { port }),
        Encapsulation::Ipip => {
            if keys.has("gue_port") {
                let refusal = Refusal::new(
                    "`gue_port` belongs to GUE, and the encapsulation is ipip, which has no ports",
                    "use `encapsulation = \"gue\"`, or leave it out",
                );
                report.add(keys.span("gue_port"), refusal);
            }
            Some(Encapsulation::Ipip)
        }
    }
}
