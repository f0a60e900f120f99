//! nftables: destination NAT by a map of servers, round robin.

use std::{
    fmt::Write as _,
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use flowgate_tests::netns::run;

use super::{Alone, Forwarder, Running, ip_forward::route};
use crate::{
    addresses::{SERVER_PORT, SERVERS, VIP_PORT},
    bed::Bed,
    frame::Delivery,
};

pub struct Nft;

impl Forwarder for Nft {
    fn name(&self) -> String {
        "nft dnat".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::Server
    }

    fn look(&self) -> Result<()> {
        let mut nft = Command::new("nft");
        nft.arg("--version").stdout(Stdio::null());
        run(&mut nft).context("no nft (package nftables)").map(drop)
    }

    fn start(&self, bed: &mut Bed) -> Result<Box<dyn Running>> {
        route(bed)?;
        let file = bed.scratch().join("nft");
        fs::write(&file, rules(bed))?;
        run(bed.lb.command("nft")?.arg("-f").arg(&file))?;
        // As Flowgate's flows: none expires while others are measured.
        bed.lb
            .sysctl("net.netfilter.nf_conntrack_udp_timeout", "3600")?;
        Ok(Box::new(Alone))
    }
}

fn rules(bed: &Bed) -> String {
    let servers = bed.family.servers(bed.wiring).enumerate();
    let mut map = String::new();
    for (number, server) in servers {
        let _ = write!(map, "{number} : {server} . {SERVER_PORT}, ");
    }
    format!(
        "table ip flowgate_path {{\n\
         chain prerouting {{\n\
         type nat hook prerouting priority dstnat;\n\
         ip daddr {} udp dport {VIP_PORT} dnat to numgen inc mod {SERVERS} map {{ {map} }}\n\
         }}\n}}\n",
        bed.family.vip()
    )
}
