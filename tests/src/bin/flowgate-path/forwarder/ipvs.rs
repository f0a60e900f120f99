//! IPVS, the kernel's own load balancer, round robin.
//!
//! Its connections are its own: netfilter's connection tracking isn't at work
//! (`net.ipv4.vs.conntrack` is 0, and nothing else asks for it), nor is the reverse path
//! filter. Neighbours are permanent, as for all.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use flowgate_tests::netns::run;

use super::{Alone, Forwarder, Running, ip_forward::route};
use crate::{
    addresses::{SERVER_PORT, VIP_PORT},
    bed::Bed,
    frame::Delivery,
};

/// How it forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Direct routing: another destination MAC address.
    Dr,
    /// Another destination address and port.
    Nat,
}

pub struct Ipvs(Way);

pub fn all() -> [Ipvs; 2] {
    [Ipvs(Way::Nat), Ipvs(Way::Dr)]
}

impl Forwarder for Ipvs {
    fn name(&self) -> String {
        let way = match self.0 {
            Way::Dr => "ipvs dr",
            Way::Nat => "ipvs nat",
        };
        way.to_owned()
    }

    fn delivery(&self) -> Delivery {
        match self.0 {
            Way::Dr => Delivery::Vip,
            Way::Nat => Delivery::Server,
        }
    }

    fn look(&self) -> Result<()> {
        let mut list = Command::new("ipvsadm");
        list.arg("--list").stdout(Stdio::null());
        run(&mut list)
            .context("no IPVS (package ipvsadm, kernel module ip_vs)")
            .map(drop)
    }

    fn start(&self, bed: &mut Bed) -> Result<Box<dyn Running>> {
        route(bed)?;
        let vip = bed.family.vip();
        // It takes what the kernel holds for its own.
        bed.lb.ip(&format!("addr add {vip}/32 dev lo"))?;
        bed.lb.sysctl("net.ipv4.vs.conntrack", "0")?;
        let service = format!("{vip}:{VIP_PORT}");
        ipvsadm(
            bed,
            &[
                "--add-service",
                "--udp-service",
                &service,
                "--scheduler",
                "rr",
            ],
        )?;
        let (way, port) = match self.0 {
            Way::Dr => ("--gatewaying", VIP_PORT),
            Way::Nat => ("--masquerading", SERVER_PORT),
        };
        for server in bed.family.servers(bed.wiring) {
            let server = format!("{server}:{port}");
            let add = ["--add-server", "--udp-service", &service];
            ipvsadm(bed, &[&add[..], &["--real-server", &server, way]].concat())?;
        }
        // As Flowgate's flows: none expires while others are measured.
        ipvsadm(bed, &["--set", "0", "0", "3600"])?;
        Ok(Box::new(Alone))
    }
}

fn ipvsadm(bed: &Bed, arguments: &[&str]) -> Result<()> {
    let mut command = bed.lb.command("ipvsadm")?;
    run(command.args(arguments)).map(drop)
}
