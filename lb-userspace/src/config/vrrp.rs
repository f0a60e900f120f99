//! One `[[vrrp]]` with its `[[vrrp.track]]` tables.

mod fit;

use std::{collections::HashSet, net::IpAddr, num::NonZeroU8, ops::RangeInclusive, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{
    error::Report,
    model::{Group, Service, Track, Tracked},
    refusal::Refusal,
    replication,
    roster::Roster,
    rules,
    table::{Keys, Value, each},
};
use crate::vrrp::{Interval, IntervalError, Version};

const KEYS: [&str; 18] = [
    "name",
    "interface",
    "vrid",
    "version",
    "priority",
    "interval",
    "address",
    "peers",
    "preempt",
    "preempt_delay",
    "checksum_as_v2",
    "vips",
    "gateways",
    "advertise",
    "announcements",
    "announce_interval",
    "notify",
    "track",
];
const TRACK_KEYS: [&str; 4] = ["interface", "service", "backends", "penalty"];

const DEFAULT_PRIORITY: NonZeroU8 = NonZeroU8::new(100).expect("not zero");
const ANNOUNCEMENTS: RangeInclusive<u32> = 1..=100;
const ANNOUNCE_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(60);
const PREEMPT_DELAYS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
/// One packet goes to each peer at every advertisement.
const MAX_PEERS: usize = 32;

/// A group whose own keys have been read. What it says of addresses is held against the
/// services', which are read after it.
pub(super) struct Draft<'a> {
    keys: Keys<'a>,
    group: Group,
    vips: Option<Vec<IpAddr>>,
    advertise: Option<Vec<IpAddr>>,
    tracks: Vec<std::ops::Range<usize>>,
}

impl<'a> Draft<'a> {
    /// Reads a group's keys, and enters its gateways in the roster. `None` after errors
    /// were noted.
    pub(super) fn read(
        report: &mut Report<'_>,
        roster: &mut Roster,
        table: &'a Spanned<DeValue<'a>>,
    ) -> Option<Self> {
        let place = table.span();
        let keys = report.keep(&place, Value::item("vrrp", table).table())?;
        let keys = Keys::new(report, keys, place, "[[vrrp]]", &KEYS);
        let name = keys.need(report, "name", "\"site\"", |value| {
            rules::name(value.text()?)
        });
        let interface = keys.need(report, "interface", "\"eth0\"", |value| {
            rules::interface(value.text()?)
        });
        let vrid = keys.need(report, "vrid", "51", |value| number("vrid", value));
        let priority = keys.or(report, "priority", DEFAULT_PRIORITY, |value| {
            number("priority", value)
        });
        let interval = interval(report, &keys);
        let address = keys.maybe(report, "address", |value| {
            rules::node_address(rules::address(value.text()?)?)
        });
        let peers = peers(report, &keys, address.flatten());
        let preempt = keys.or(report, "preempt", true, Value::boolean);
        let preempt_delay = keys.or(report, "preempt_delay", Duration::ZERO, |value| {
            rules::duration("delay", value.duration()?, PREEMPT_DELAYS)
        });
        let checksum_as_v2 = keys.or(report, "checksum_as_v2", false, Value::boolean);
        let vips = addresses(report, &keys, "vips", |address, _| rules::vip(address));
        let gateways = addresses(report, &keys, "gateways", |address, line| {
            let address = rules::gateway_address(address)?;
            roster.gateway(address)?;
            roster.record_gateway(address, Some(line));
            Ok(address)
        });
        let advertise = addresses(report, &keys, "advertise", |address, _| Ok(address));
        let announcements = keys.or(report, "announcements", 5, |value| {
            rules::within("number of announcements", value.integer()?, ANNOUNCEMENTS)
        });
        let announce_interval = Duration::from_millis(100);
        let announce_interval = keys.or(report, "announce_interval", announce_interval, |value| {
            rules::duration("interval", value.duration()?, ANNOUNCE_INTERVALS)
        });
        let notify = keys.maybe(report, "notify", |value| replication::path(value.text()?));
        let (tracks, track) = tracks(report, &keys)?.into_iter().unzip();
        let group = Group {
            name: name?,
            interface: interface?,
            vrid: vrid?,
            interval: interval?,
            priority: priority?,
            address: address?,
            peers: peers?,
            preempt: preempt?,
            preempt_delay: preempt_delay?,
            checksum_as_v2: checksum_as_v2?,
            vips: Vec::new(),
            gateways: gateways?.unwrap_or_default(),
            advertise: Vec::new(),
            announcements: announcements?,
            announce_interval: announce_interval?,
            notify: notify?,
            track,
        };
        Some(Self {
            keys,
            group,
            vips: vips?,
            advertise: advertise?,
            tracks,
        })
    }

    /// Holds what it says of services and VIPs against `services` and the pool's addresses.
    /// `None` after errors were noted.
    fn finish(
        self,
        report: &mut Report<'_>,
        services: &[Service],
        vips: &[IpAddr],
    ) -> Option<Group> {
        let mut group = self.group;
        for (track, place) in group.track.iter().zip(self.tracks) {
            report.keep(&place, fit::is_there(track, services))?;
        }
        group.vips = match self.vips {
            Some(own) => report.keep(&self.keys.span("vips"), fit::balanced(own, vips))?,
            None => vips.to_vec(),
        };
        if group.vips.is_empty() {
            let refusal = Refusal::new(
                "the group has no VIP that could move",
                "add a [[service]], or name a service's VIP: vips = [\"203.0.113.10\"]",
            );
            report.add(self.keys.span("vips"), refusal);
            return None;
        }
        let is_ipv6 = self.advertise.as_ref().and_then(|list| list.first());
        let own = group.address.or(group.peers.first().copied());
        let is_ipv6 = is_ipv6.copied().or(own).unwrap_or(group.vips[0]).is_ipv6();
        let key = if self.advertise.is_some() {
            "advertise"
        } else {
            "vips"
        };
        let advertise = self.advertise.unwrap_or_else(|| {
            let pick = group.vips.iter().filter(|vip| vip.is_ipv6() == is_ipv6);
            let services: HashSet<IpAddr> = services.iter().map(|service| service.vip).collect();
            pick.filter(|vip| services.contains(vip)).copied().collect()
        });
        group.advertise = report.keep(
            &self.keys.span(key),
            fit::advertised(&group, advertise, is_ipv6),
        )?;
        report.keep(&self.keys.span("version"), fit::versions(&group))?;
        Some(group)
    }
}

/// Finishes all groups: between them each VIP has its place. `None` after errors were noted.
pub(super) fn finish(
    report: &mut Report<'_>,
    drafts: Vec<Draft<'_>>,
    services: &[Service],
    pool: &[IpAddr],
) -> Option<Vec<Group>> {
    let mut vips: Vec<IpAddr> = services.iter().map(|service| service.vip).collect();
    vips.extend(pool);
    vips.sort_unstable();
    vips.dedup();
    let several = drafts.len() > 1;
    let mut groups: Vec<Group> = Vec::new();
    let mut taken = HashSet::new();
    for draft in drafts {
        let keys = draft.keys.clone();
        if several && draft.vips.is_none() {
            let refusal = Refusal::new(
                "there are several groups, and this one doesn't say what is in it",
                "name its VIPs, such as: vips = [\"203.0.113.10\"]",
            );
            report.add(keys.place(), refusal);
            return None;
        }
        let group = draft.finish(report, services, &vips)?;
        for other in &groups {
            report.keep(&keys.place(), fit::apart(&group, other))?;
        }
        for vip in &group.vips {
            if !taken.insert(*vip) {
                let refusal = Refusal::new(
                    format!("{vip} is in two groups, or twice in one"),
                    "an address moves with one group",
                );
                report.add(keys.span("vips"), refusal);
                return None;
            }
        }
        groups.push(group);
    }
    if let Some(homeless) = vips
        .iter()
        .find(|vip| !groups.is_empty() && !taken.contains(vip))
    {
        let refusal = Refusal::new(
            format!("{homeless} is in no group, so both nodes would answer for it"),
            "add it to the `vips` of one",
        );
        report.add(0..0, refusal);
        return None;
    }
    Some(groups)
}

fn number(what: &str, value: Value<'_>) -> Result<NonZeroU8, Refusal> {
    let number = rules::within(what, value.integer()?, 1..=u8::MAX)?;
    Ok(NonZeroU8::new(number).expect("1 at least"))
}

fn interval(report: &mut Report<'_>, keys: &Keys<'_>) -> Option<Interval> {
    let version = keys.or(report, "version", Version::V3, |value| {
        match value.integer()? {
            2 => Ok(Version::V2),
            3 => Ok(Version::V3),
            other => Err(Refusal::new(
                format!("there is no VRRP version {other}"),
                "write 3, or 2 for peers that know no other",
            )),
        }
    })?;
    let usual = Interval::from_centiseconds(version, 100).expect("a second");
    keys.or(report, "interval", usual, |value| {
        let any = Duration::ZERO..=Duration::MAX;
        let duration = rules::duration("interval", value.duration()?, any)?;
        Interval::new(version, duration).map_err(|error| {
            let help = match error {
                IntervalError::Version2 => "write such as \"1s\", or set version = 3",
                IntervalError::Version3 => "write such as \"20ms\" or \"1s\"",
            };
            Refusal::new(error.to_string(), help)
        })
    })
}

fn peers(report: &mut Report<'_>, keys: &Keys<'_>, own: Option<IpAddr>) -> Option<Vec<IpAddr>> {
    let mut known: Vec<IpAddr> = Vec::new();
    let peers = addresses(report, keys, "peers", |address, _| {
        let address = rules::node_address(address)?;
        let first = known.first().copied().or(own);
        if first.is_some_and(|first| first.is_ipv4() != address.is_ipv4()) {
            return Err(Refusal::new(
                format!("{address} is of another IP version than the group's other nodes"),
                "advertisements travel by one IP version: make it one",
            ));
        }
        if known.contains(&address) || own == Some(address) {
            return Err(Refusal::new(
                format!("{address} is this node's own address, or named before"),
                "name each other node of the group once",
            ));
        }
        known.push(address);
        Ok(address)
    })?
    .unwrap_or_default();
    if peers.len() > MAX_PEERS {
        let refusal = Refusal::new(
            format!(
                "these are {} peers, and a group can have {MAX_PEERS}",
                peers.len()
            ),
            "leave `peers` out: then advertisements go to all by multicast",
        );
        report.add(keys.span("peers"), refusal);
        return None;
    }
    Some(peers)
}

/// A list of addresses that may be missing.
fn addresses(
    report: &mut Report<'_>,
    keys: &Keys<'_>,
    key: &'static str,
    mut rule: impl FnMut(IpAddr, usize) -> Result<IpAddr, Refusal>,
) -> Option<Option<Vec<IpAddr>>> {
    let Some(items) = keys.maybe(report, key, Value::array)? else {
        return Some(None);
    };
    each(report, key, items, |value, line| {
        rule(rules::address(value.text()?)?, line)
    })
    .map(Some)
}

type Placed = (std::ops::Range<usize>, Track);

fn tracks(report: &mut Report<'_>, keys: &Keys<'_>) -> Option<Vec<Placed>> {
    let tables = keys.or(report, "track", &[][..], |value| {
        value.tables("[[vrrp.track]]")
    })?;
    let mut tracks = Vec::new();
    for table in tables {
        let place = table.span();
        let keys = report.keep(&place, Value::item("track", table).table())?;
        let keys = Keys::new(report, keys, place.clone(), "[[vrrp.track]]", &TRACK_KEYS);
        let interface = keys.maybe(report, "interface", |value| rules::interface(value.text()?))?;
        let service = keys.maybe(report, "service", |value| rules::name(value.text()?))?;
        let backends = keys.maybe(report, "backends", |value| {
            rules::within(
                "number of backends",
                value.integer()?,
                1..=u32::from(u16::MAX),
            )
        })?;
        let penalty = keys.maybe(report, "penalty", |value| number("penalty", value))?;
        let what = match (interface, service, backends) {
            (Some(interface), None, None) => Tracked::Interface(interface),
            (None, Some(name), backends) => Tracked::Service {
                name,
                backends: backends.unwrap_or(1),
            },
            _ => {
                let refusal = Refusal::new(
                    "it isn't said what is tracked",
                    "write either interface = \"eth1\", or service = \"web\" and, if more than one, backends = 2",
                );
                report.add(place, refusal);
                return None;
            }
        };
        tracks.push((place, Track { what, penalty }));
    }
    Some(tracks)
}
