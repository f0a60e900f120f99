//! `health = { … }` of a service.

use std::time::Duration;

use super::{
    error::Report,
    model::{CheckKind, HealthCheck, Ports, Protocol},
    refusal::{Refusal, quoted},
    rules,
    table::{Keys, Value},
};

const KEYS: [&str; 10] = [
    "kind", "path", "host", "expect", "port", "interval", "timeout", "rise", "fall", "jitter",
];
/// Keys that only an `http` check has.
const HTTP_KEYS: [&str; 3] = ["path", "host", "expect"];

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;
const DEFAULT_JITTER: u8 = 10;
const DEFAULT_EXPECT: (u16, u16) = (200, 399);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
}

/// The health check of a service whose keys are `service`: `Some(None)` when it
/// has none, `None` after errors were noted.
pub(super) fn read(
    report: &mut Report<'_>,
    service: &Keys<'_>,
    frontend: Option<(Protocol, Ports)>,
) -> Option<Option<HealthCheck>> {
    let Some(table) = service.maybe(report, "health", Value::table)? else {
        return Some(None);
    };
    let keys = Keys::new(report, table, service.span("health"), "health", &KEYS);
    let kind = kind(report, &keys);
    let port = keys.maybe(report, "port", |value| rules::port(value.integer()?));
    if let (Some((protocol, ports)), Some(port)) = (frontend, port) {
        report.keep(&keys.place(), rules::check_port(protocol, ports, port));
    }
    let interval = keys.or(report, "interval", DEFAULT_INTERVAL, |value| {
        let bounds = Duration::from_millis(10)..=Duration::from_secs(3600);
        rules::duration("interval", value.duration()?, bounds)
    });
    let timeout = timeout(report, &keys, interval);
    let count = |value: Value<'_>, what| rules::within(what, value.integer()?, 1..=100);
    let rise = keys.or(report, "rise", DEFAULT_RISE, |value| count(value, "rise"));
    let fall = keys.or(report, "fall", DEFAULT_FALL, |value| count(value, "fall"));
    let jitter = keys.or(report, "jitter", DEFAULT_JITTER, jitter);
    Some(Some(HealthCheck {
        kind: kind?,
        port: port?,
        interval: interval?,
        timeout: timeout?,
        rise: rise?,
        fall: fall?,
        jitter: jitter?,
    }))
}

fn kind(report: &mut Report<'_>, keys: &Keys<'_>) -> Option<CheckKind> {
    let all = [("tcp", Kind::Tcp), ("http", Kind::Http)];
    let kind = keys.need(report, "kind", "\"http\"", |value| {
        rules::choice("kind of check", value.text()?, &all)
    });
    if kind == Some(Kind::Tcp) {
        for key in HTTP_KEYS.into_iter().filter(|key| keys.has(key)) {
            let refusal = Refusal::new(
                format!("a tcp check asks for no `{key}`: it only connects"),
                "use `kind = \"http\"`, or leave it out",
            );
            report.add(keys.span(key), refusal);
        }
        return Some(CheckKind::Tcp);
    }
    if kind.is_none() && !keys.has("path") {
        return None;
    }
    let path = keys.need(report, "path", "\"/healthz\"", |value| path(value.text()?));
    let host = keys.maybe(report, "host", |value| host(value.text()?));
    let expect = keys.or(report, "expect", DEFAULT_EXPECT, expect);
    kind?;
    Some(CheckKind::Http {
        path: path?,
        host: host?,
        expect: expect?,
    })
}

fn timeout(
    report: &mut Report<'_>,
    keys: &Keys<'_>,
    interval: Option<Duration>,
) -> Option<Duration> {
    let longest = interval.unwrap_or(Duration::MAX);
    let default = longest.min(LONGEST_DEFAULT_TIMEOUT);
    keys.or(report, "timeout", default, |value| {
        let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
        let timeout = rules::duration("timeout", value.duration()?, bounds)?;
        if timeout <= longest {
            return Ok(timeout);
        }
        let show = humantime::format_duration;
        Err(Refusal::new(
            format!(
                "the timeout {} is longer than the interval {}",
                show(timeout),
                show(longest)
            ),
            "a check must end before the next one begins: shorten the timeout or lengthen \
             the interval",
        ))
    })
}

/// What may stand in a request line or header value: visible ASCII.
fn visible(text: &str) -> bool {
    !text.is_empty() && text.len() <= 1_024 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn path(text: &str) -> Result<String, Refusal> {
    if !text.starts_with('/') {
        return Err(Refusal::new(
            format!("the path {} doesn't begin with `/`", quoted(text)),
            "write the path alone, without the host: path = \"/healthz\"",
        ));
    }
    if !visible(text) || text.contains('#') {
        return Err(Refusal::new(
            format!("{} can't be asked for", quoted(text)),
            "use up to 1,024 printable ASCII characters without `#`, and write others as %XX",
        ));
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, Refusal> {
    if visible(text) && !text.contains(['/', '@', '?', '#']) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(
        format!("{} is not a host", quoted(text)),
        "write a host name as in a URL: host = \"www.example.com\"",
    ))
}

fn jitter(value: Value<'_>) -> Result<u8, Refusal> {
    if let Some(number) = value.bare_integer() {
        return Err(Refusal::new(
            format!("the jitter {number} has no unit"),
            format!("write per cent of the interval: jitter = \"{number}%\""),
        ));
    }
    let text = value.text()?;
    let number = text.strip_suffix('%').and_then(|text| text.parse().ok());
    let Some(number) = number else {
        return Err(Refusal::new(
            format!("{} is not a share of the interval", quoted(text)),
            "write per cent of the interval: jitter = \"10%\"",
        ));
    };
    rules::within("jitter in per cent", number, 0..=50)
}

fn expect(value: Value<'_>) -> Result<(u16, u16), Refusal> {
    let status = |number| rules::within("status", number, 100..=599);
    if !value.is_text() {
        let one = status(value.integer()?)?;
        return Ok((one, one));
    }
    let text = value.text()?;
    let malformed = || {
        Refusal::new(
            format!("{} is not a range of HTTP statuses", quoted(text)),
            "write one status or two ends: expect = 200, or expect = \"200-299\"",
        )
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<i128>().map_err(|_| malformed());
    let (low, high) = (status(number(low)?)?, status(number(high)?)?);
    if low > high {
        return Err(malformed());
    }
    Ok((low, high))
}
