//! A server of a site, and what runs on it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use anyhow::Result;

use super::{Family, Net, Way};
use crate::{
    bulk, decapsulate::Decapsulator, dns::NameServer, echo::Echo, link::End, netns::Namespace,
    nginx::Nginx, process::Process, xdp,
};

/// The VIP's ports.
pub(super) const HTTP: u16 = 80;
pub(super) const DNS: u16 = 53;
pub(super) const ECHO: u16 = 7;
pub(super) const BULK: u16 = bulk::PORT;
/// Where nginx listens when ports are translated.
pub(super) const TRANSLATED_HTTP: u16 = 8080;

/// A server.
#[derive(Debug)]
pub struct Server {
    /// nginx.
    pub nginx: Nginx,
    /// Its own address, of the family that the load balancer speaks to it.
    pub address: IpAddr,
    _dns: NameServer,
    _echo: Echo,
    _bulk: Option<Process>,
    /// In tunnel modes, what takes packets out of others.
    pub decapsulator: Option<Decapsulator>,
    _in_turn: xdp::Attached,
    /// The host; its interface is `eth0`.
    pub host: Namespace,
}

impl Server {
    /// Its name.
    pub fn name(&self) -> &str {
        self.nginx.name()
    }

    pub(super) fn start(net: &Net<'_>, number: u8, scratch: &Path) -> Result<Self> {
        let description = net.description;
        let name = format!("web{number}");
        let host = net.host(&name)?;
        let network = description.server_network();
        let device = End::new(&host, "eth0");
        net.plug(device, network, &name)?;
        let in_turn = xdp::receive_in_turn(device)?;
        net.address(device, network, 10 + number)?;
        net.default_route(&host, network)?;
        let (vip, way) = (description.vip, description.way);
        if way.keeps_vip() {
            host.sysctl("net.ipv4.conf.all.arp_ignore", "1")?;
            host.sysctl("net.ipv4.conf.all.arp_announce", "2")?;
            host.ip(&format!("addr add {}/{} dev lo", vip.vip(), vip.bits()))?;
        }
        let address = description.servers.host(network, 10 + number);
        let decapsulator = if way.tunnels() {
            let gue = way == Way::Gue;
            Some(Decapsulator::start(
                &host,
                address,
                vip,
                gue.then_some(6080),
            )?)
        } else {
            None
        };
        let http = if way.keeps_vip() {
            HTTP
        } else {
            TRANSLATED_HTTP
        };
        // A socket answers from the address that it is bound to; from one of the host's
        // own choice otherwise.
        let echo_at = match (way.keeps_vip(), vip) {
            (true, vip) => vip.vip(),
            (false, Family::V4) => Ipv4Addr::UNSPECIFIED.into(),
            (false, Family::V6) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let bulk = if number == 1 {
            Some(bulk::serve(&host, scratch)?)
        } else {
            None
        };
        Ok(Self {
            nginx: Nginx::start(&host, &name, &[http], scratch)?,
            address,
            _dns: NameServer::start(&host, &name, scratch)?,
            _echo: Echo::start(&host, (echo_at, ECHO).into())?,
            _bulk: bulk,
            decapsulator,
            _in_turn: in_turn,
            host,
        })
    }
}
