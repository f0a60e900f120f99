//! Whether what Flowgate sent is as it should be: by tshark, and the checksum once more by
//! ourselves.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{
    answers::checksum,
    capture::Frame,
    tshark::{self, Fields},
    wire::{Cast, Family, HIGH, LOW, Node, VRID, Version, Wire, vip},
};

/// `_ws.expert.severity` of warnings; chats and notes are less, errors more.
const WARNING: u32 = 0x0060_0000;
const BROADCAST: &str = "ff:ff:ff:ff:ff:ff";
const ALL_NODES: &str = "33:33:00:00:00:01";

/// What was captured and found to be in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Advertisements.
    pub adverts: usize,
    /// Advertisements of priority 0.
    pub resignations: usize,
    /// Gratuitous ARP requests.
    pub arps: usize,
    /// Unsolicited neighbour advertisements.
    pub neighbours: usize,
    /// Frames of other kinds: answers, and what the node's own kernel sent.
    pub others: usize,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.adverts += other.adverts;
        self.resignations += other.resignations;
        self.arps += other.arps;
        self.neighbours += other.neighbours;
        self.others += other.others;
    }
}

/// Has tshark read the frames, and says what is wrong with the first that isn't in order.
///
/// # Errors
/// What is wrong, or that tshark can't be run.
pub fn judge(frames: &[Frame], wire: Wire, scratch: &Path) -> Result<Seen> {
    let read = tshark::read(frames, wire, scratch)?;
    let mut seen = Seen::default();
    for (frame, fields) in frames.iter().zip(&read) {
        one(frame, fields, wire, &mut seen)
            .map_err(|error| error.context(format!("{wire}: {fields:?}: {:02x?}", frame.bytes)))?;
    }
    Ok(seen)
}

fn one(frame: &Frame, fields: &Fields, wire: Wire, seen: &mut Seen) -> Result<()> {
    ensure!(!fields.has("_ws.malformed"), "tshark finds it malformed");
    let severities = fields.get("_ws.expert.severity").split(',');
    let worst = severities.filter_map(|one| one.parse::<u32>().ok()).max();
    ensure!(
        worst.is_none_or(|worst| worst < WARNING),
        "tshark warns: {}",
        fields.get("_ws.expert.message")
    );
    let is_gratuitous = fields.has("arp.opcode")
        && fields.get("arp.src.proto_ipv4") == fields.get("arp.dst.proto_ipv4");
    // A node that has stopped refuses advertisements, and quotes them.
    let is_error = fields.has("icmp.type") || fields.has("icmpv6.type");
    if fields.has("vrrp.version") && !is_error {
        advert(frame, fields, wire)?;
        seen.adverts += 1;
        seen.resignations += usize::from(fields.get("vrrp.prio") == "0");
    } else if is_gratuitous {
        arp(fields)?;
        seen.arps += 1;
    } else if fields.get("icmpv6.type") == "136" && fields.get("ipv6.dst") == "ff02::1" {
        neighbour(fields)?;
        seen.neighbours += 1;
    } else {
        seen.others += 1;
    }
    Ok(())
}

/// Fields and the values that they have to have.
fn expect(fields: &Fields, expected: &[(&'static str, &str)]) -> Result<()> {
    for &(name, value) in expected {
        let found = fields.get(name);
        ensure!(found == value, "{name} is {found:?}, not {value:?}");
    }
    Ok(())
}

fn advert(frame: &Frame, fields: &Fields, wire: Wire) -> Result<()> {
    let mac = mac(Node::Ours.mac());
    let (source, destination) = match wire.cast {
        Cast::Unicast => (Some(Node::Ours.address(wire.family)), None),
        Cast::Multicast if wire.family == Family::V4 => (
            Some(Node::Ours.address(wire.family)),
            Some(("224.0.0.18", "01:00:5e:00:00:12")),
        ),
        Cast::Multicast => (None, Some(("ff02::12", "33:33:00:00:00:12"))),
    };
    let peer = Node::Theirs.address(wire.family).to_string();
    let theirs = self::mac(Node::Theirs.mac());
    let (group, group_mac) = destination.unwrap_or((&peer, &theirs));
    let number = wire.number().to_string();
    expect(
        fields,
        &[
            ("eth.src", &mac),
            ("eth.dst", group_mac),
            ("vrrp.version", &number),
            ("vrrp.type", "1"),
            ("vrrp.virt_rtr_id", &VRID.to_string()),
            ("vrrp.addr_count", "1"),
            ("vrrp.checksum.status", "1"),
        ],
    )?;
    let own = vip(wire.family).to_string();
    match wire.family {
        Family::V4 => expect(
            fields,
            &[
                ("ip.dst", group),
                ("ip.ttl", "255"),
                ("ip.checksum.status", "1"),
                ("vrrp.ip_addr", &own),
            ],
        )?,
        Family::V6 => expect(
            fields,
            &[
                ("ipv6.dst", group),
                ("ipv6.hlim", "255"),
                ("vrrp.ipv6_addr", &own),
            ],
        )?,
    }
    let from = fields.get(match wire.family {
        Family::V4 => "ip.src",
        Family::V6 => "ipv6.src",
    });
    match source {
        Some(source) => ensure!(from == source.to_string(), "it comes from {from}"),
        None => ensure!(from.starts_with("fe80:"), "it comes from {from}"),
    }
    match wire.version {
        // In seconds.
        Version::V2 => expect(fields, &[("vrrp.adver_int", "1"), ("vrrp.auth_type", "0")])?,
        // In centiseconds.
        _ => expect(fields, &[("vrrp.short_adver_int", "10")])?,
    }
    let priorities = [0, LOW, HIGH].map(|priority| priority.to_string());
    let priority = fields.get("vrrp.prio");
    ensure!(
        priorities.iter().any(|one| one == priority),
        "its priority is {priority}"
    );
    sum(&frame.bytes, wire)
}

/// The checksum, made without any code of Flowgate's or tshark's.
fn sum(frame: &[u8], wire: Wire) -> Result<()> {
    let ip = &frame[14..];
    let (addresses, message) = match wire.family {
        Family::V4 => {
            let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            let head = usize::from(ip[0] & 0xf) * 4;
            (&ip[12..20], &ip[head..total])
        }
        Family::V6 => {
            let length = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
            (&ip[8..40], &ip[40..40 + length])
        }
    };
    let pseudo = [addresses, &[0, message.len() as u8, 0, 112]].concat();
    let all = [&pseudo[..], message].concat();
    let (with, without) = (checksum(&all), checksum(message));
    let right = match wire.version {
        Version::V3 => with == 0 && without != 0,
        Version::V2 | Version::V3AsV2 => without == 0 && with != 0,
    };
    ensure!(
        right,
        "its checksum is off by {with:#06x} with the pseudo-header, by {without:#06x} without"
    );
    Ok(())
}

fn arp(fields: &Fields) -> Result<()> {
    let (mac, vip) = (mac(Node::Ours.mac()), vip(Family::V4).to_string());
    expect(
        fields,
        &[
            ("eth.src", &mac),
            ("eth.dst", BROADCAST),
            ("arp.opcode", "1"),
            ("arp.src.hw_mac", &mac),
            ("arp.src.proto_ipv4", &vip),
        ],
    )
}

fn neighbour(fields: &Fields) -> Result<()> {
    let (mac, vip) = (mac(Node::Ours.mac()), vip(Family::V6).to_string());
    expect(
        fields,
        &[
            ("eth.src", &mac),
            ("eth.dst", ALL_NODES),
            ("ipv6.src", &vip),
            ("ipv6.hlim", "255"),
            ("icmpv6.checksum.status", "1"),
            ("icmpv6.nd.na.target_address", &vip),
            ("icmpv6.nd.na.flag.r", "0"),
            ("icmpv6.nd.na.flag.s", "0"),
            ("icmpv6.nd.na.flag.o", "1"),
            ("icmpv6.opt.linkaddr", &mac),
        ],
    )
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
