//! The kernel's own forwarding, which looks a route up: what routers do.

use anyhow::{Context, Result};
use flowgate_tests::netns::run;

use super::{Alone, Forwarder, Running};
use crate::bed::Bed;

pub struct IpForward;

impl Forwarder for IpForward {
    fn name(&self) -> String {
        "ip_forward".to_owned()
    }

    fn start(&self, bed: &mut Bed) -> Result<Box<dyn Running>> {
        route(bed)?;
        let server = bed.family.servers(bed.wiring).next().context("a server")?;
        let vip = bed.family.vip();
        bed.lb
            .ip(&format!("route add {vip} via {server} dev back"))?;
        Ok(Box::new(Alone))
    }
}

/// Makes the forwarder's host a router. Where no XDP program is, GRO is what makes veth
/// take frames that XDP has sent.
pub fn route(bed: &Bed) -> Result<()> {
    bed.lb.sysctl("net.ipv4.ip_forward", "1")?;
    let mut ethtool = bed.lb.command("ethtool")?;
    run(ethtool.args(["-K", bed.front().device, "gro", "on"])).map(drop)
}
