//! tshark reads frames: which fields they have, and whether anything is wrong.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::{
    capture::{self, Frame},
    wire::{Version, Wire},
};
use crate::netns::run;

/// The fields that are asked for. Of those that a frame has several times, all are told.
const FIELDS: &[&str] = &[
    "eth.src",
    "eth.dst",
    "ip.src",
    "ip.dst",
    "ip.ttl",
    "ip.checksum.status",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.hlim",
    "vrrp.version",
    "vrrp.type",
    "vrrp.virt_rtr_id",
    "vrrp.prio",
    "vrrp.addr_count",
    "vrrp.auth_type",
    "vrrp.adver_int",
    "vrrp.short_adver_int",
    "vrrp.ip_addr",
    "vrrp.ipv6_addr",
    "vrrp.checksum.status",
    "arp.opcode",
    "arp.src.hw_mac",
    "arp.src.proto_ipv4",
    "arp.dst.proto_ipv4",
    "icmp.type",
    "icmpv6.type",
    "icmpv6.checksum.status",
    "icmpv6.nd.na.flag.r",
    "icmpv6.nd.na.flag.s",
    "icmpv6.nd.na.flag.o",
    "icmpv6.nd.na.target_address",
    "icmpv6.opt.linkaddr",
    "_ws.malformed",
    "_ws.expert.severity",
    "_ws.expert.message",
];

/// One frame's fields; what it hasn't is empty.
#[derive(Debug, Clone)]
pub struct Fields(BTreeMap<&'static str, String>);

impl Fields {
    /// The value of that field; several with commas between.
    pub fn get(&self, name: &'static str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether there is any.
    pub fn has(&self, name: &'static str) -> bool {
        !self.get(name).is_empty()
    }
}

/// What tshark reads in `frames`, one by one, with every checksum checked.
pub fn read(frames: &[Frame], wire: Wire, scratch: &Path) -> Result<Vec<Fields>> {
    let path = scratch.join("capture.pcap");
    capture::write(frames, &path)?;
    let as_v2 = if wire.version == Version::V3AsV2 {
        "TRUE"
    } else {
        "FALSE"
    };
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-r")
        .arg(&path)
        .args(["-n", "-o", "ip.check_checksum:TRUE"])
        .args(["-o", &format!("vrrp.v3_checksum_as_in_v2:{as_v2}")])
        .args(["-T", "fields", "-E", "separator=|", "-E", "aggregator=,"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let text = run(&mut tshark)
        .context("is Debian's package tshark installed? `cargo xtask setup` does that")?;
    let read: Vec<Fields> = text.lines().map(fields).collect();
    ensure!(
        read.len() == frames.len(),
        "tshark told of {} of {} frames",
        read.len(),
        frames.len()
    );
    Ok(read)
}

fn fields(line: &str) -> Fields {
    let values = line.split('|').map(str::to_owned);
    Fields(FIELDS.iter().copied().zip(values).collect())
}

/// The version of the one that is installed, such as `4.0.17`.
pub fn version() -> Result<String> {
    let said = run(Command::new("tshark").arg("--version"))
        .context("is Debian's package tshark installed? `cargo xtask setup` does that")?;
    let version = said
        .split_whitespace()
        .nth(2)
        .map(|word| word.trim_end_matches('.'));
    Ok(version.context("tshark told no version")?.to_owned())
}
